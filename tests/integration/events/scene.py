"""A customer's desk: workflows that are live, triggers that fire, connections, and a look into the tables."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import pytest
from pydantic import SecretStr

from fastn.access.models import KeyMode, Principal
from fastn.connections.service import connection_tools, create_credential
from fastn.connections.views import NewCredential
from fastn.events import store
from fastn.events.models import EventSource, NewEvent, Priority
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.ids import EventId, TriggerId, WorkflowId, new_id
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.tenants.models import FoundedSpace
from fastn.triggers.service import create_webhook_trigger, trigger_tools
from fastn.triggers.views import NewRoute, NewWebhookTrigger
from fastn.workflows import service as workflows
from fastn.workflows.models import CreateWorkflow, DeploymentOrder, DeployWorkflow
from tests.integration.events.cloud import Functioning

SECRET = "planted-signing-secret-4f9a1c"  # opens nothing
SOURCE = "export default async function main(ctx) { return ctx.input; }"
TRIGGER_NEEDS = frozenset({Need.DATABASE, Need.TENANT_KEYS, Need.TRIGGER_PROJECTION_WRITE})
CONNECTION_NEEDS = frozenset({Need.DATABASE, Need.TENANT_KEYS})


@dataclass(frozen=True, slots=True)
class Scene:
    """One customer."""

    scope: Scope
    database: Database
    functions: Functioning
    clock: FrozenClock

    def rows(self, query: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """What this customer sees in the database."""
        with self.database.transaction(self.scope) as session:
            return session.execute(query, parameters).fetchall()

    def draft(self, name: str = "Orders", *, source: str = SOURCE, **members: Any) -> WorkflowId:
        """A workflow that is not deployed anywhere."""
        body = CreateWorkflow(name=name, source=source, **members)
        made = workflows.create_workflow(
            self.database, self.scope, body=body, check_source=lambda _source, _language: None, clock=self.clock
        )
        return WorkflowId(made.id)

    def live(self, name: str = "Orders", *, environment: str = "production", **members: Any) -> WorkflowId:
        """A workflow whose first version runs in this environment."""
        workflow_id = self.draft(name, **members)
        self.deploy(workflow_id, environment=environment)
        return workflow_id

    def deploy(self, workflow_id: WorkflowId, *, environment: str = "production") -> None:
        """The draft's next version, in this environment."""
        workflows.publish_workflow(
            self.database, self.scope, workflow_id=workflow_id, actor="api_key:1", clock=self.clock
        )
        principal = Principal(new_id(self.clock.now()), KeyMode.LIVE, self.scope, frozenset())
        order = DeploymentOrder(workflow_id, DeployWorkflow(environment=environment, version=None), principal)
        workflows.deploy_workflow(self.database, self.scope, order=order, clock=self.clock)

    def trigger(
        self, *routes: WorkflowId | NewRoute, scheme: str = "github", environment: str = "production"
    ) -> TriggerId:
        """A webhook trigger with these routes; a workflow's id is a route without filters."""
        named = [route if isinstance(route, NewRoute) else NewRoute(workflow_id=route) for route in routes]
        wanted = NewWebhookTrigger(name="Deliveries", scheme=scheme, secret=SecretStr(SECRET), routes=named)
        tools = trigger_tools(self.functions.platform("make_trigger", TRIGGER_NEEDS))
        return create_webhook_trigger(tools, self.scope, environment, wanted).trigger.id

    def connect(self, connector: str, secret: Mapping[str, str], *, environment: str = "production") -> None:
        """A connection of this customer's."""
        fields = {name: SecretStr(value) for name, value in secret.items()}
        wanted = NewCredential(connector=connector, secret=fields)
        tools = connection_tools(self.functions.platform("make_connection", CONNECTION_NEEDS))
        create_credential(tools, self.scope, environment, wanted)

    def event(
        self,
        trigger_id: TriggerId | None = None,
        *,
        payload: object = None,
        headers: Mapping[str, str] | None = None,
        priority: Priority = Priority.EVENT,
        environment: str = "production",
    ) -> NewEvent:
        """A verified event of this customer's, not stored yet."""
        now = self.clock.now()
        return NewEvent(
            id=EventId(new_id(now)),
            scope=self.scope,
            environment=environment,
            trigger_id=trigger_id,
            source=EventSource.WEBHOOK,
            type="issues.opened",
            idempotency_key=uuid.uuid4().bytes * 2,
            priority=priority,
            headers_json=json.dumps(headers or {}),
            payload_json=json.dumps(payload),
            trace_id="trace-1",
            received_at=now,
        )

    def stored_event(self, trigger_id: TriggerId | None = None, **members: Any) -> NewEvent:
        """The same, with its outbox row."""
        event = self.event(trigger_id, **members)
        with self.database.transaction(self.scope) as session:
            assert store.insert_event(session, event, new_id(event.received_at)) is None
        return event

    def bus_message(self, event: NewEvent | EventId, *, scope: Scope | None = None) -> dict[str, object]:
        """The bus's message about this event, as its queue gets it."""
        event_id = event.id if isinstance(event, NewEvent) else event
        detail = {
            **(scope or self.scope).as_text(), "eventId": str(event_id), "publishedAt": "2026-11-22T12:00:01.000Z",
        }  # fmt: skip
        return {"detail-type": "NormalizedEvent", "source": "fastn.events", "detail": detail}


def github_headers(body: bytes, *, delivery_id: str = "d-1", secret: str = SECRET) -> dict[str, str]:
    """The headers of a delivery that GitHub signed."""
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "x-github-event": "issues",
        "x-github-delivery": delivery_id,
        "x-hub-signature-256": f"sha256={signature}",
    }


def slack_headers(body: bytes, signed_at: int, *, secret: str = SECRET) -> dict[str, str]:
    """The headers of a delivery that Slack signed at this Unix second."""
    message = b"v0:" + str(signed_at).encode() + b":" + body
    signature = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": str(signed_at), "x-slack-signature": f"v0={signature}"}


def fastn_headers(
    body: bytes, signed_at: int, *, delivery_id: str | None = None, secret: str = SECRET
) -> dict[str, str]:
    """The headers of a delivery signed in the platform's own scheme."""
    signature = hmac.new(secret.encode(), str(signed_at).encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"x-fastn-timestamp": str(signed_at), "x-fastn-signature": f"sha256={signature}"}
    return headers | ({"x-fastn-delivery-id": delivery_id} if delivery_id is not None else {})


@pytest.fixture
def scene(customer: Scope, database: Database, functions: Functioning, clock: FrozenClock) -> Scene:
    """The customer."""
    return Scene(customer, database, functions, clock)


@pytest.fixture
def stranger(other_founded: FoundedSpace, database: Database, functions: Functioning, clock: FrozenClock) -> Scene:
    """A customer of another organization."""
    return Scene(other_founded.scope, database, functions, clock)


@pytest.fixture
def default_scene(founded: FoundedSpace, database: Database, functions: Functioning, clock: FrozenClock) -> Scene:
    """The default tenant of the customer's space, whose workflows all its customers share."""
    return Scene(founded.scope, database, functions, clock)
