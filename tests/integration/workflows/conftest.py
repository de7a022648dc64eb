"""The workflow endpoints, called as API Gateway calls them, with the real engine."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastn.http.endpoint import EndpointFunction
from fastn.platform.resources import Setting
from fastn.platform.scope import Scope
from tests.foundation.api_calls import LambdaContext, api_event, body_of
from tests.foundation.platforms import IssueKey, PlatformFor

FOLDER = "functions.api.tenants.tenant_id.workflows"
ENDPOINTS = ("list_workflows", "create_workflow", *(
    f"workflow_id.{verb}_workflow" for verb in ("get", "update", "publish", "deploy", "archive")
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered."""

    status: int
    headers: Mapping[str, str]
    body: Any  # JSON


@dataclass(slots=True)
class Client:
    """Calls the workflow endpoints with one key, for one tenant."""

    handlers: Mapping[str, EndpointFunction[Any]]
    key: str | None
    tenant: str
    context: LambdaContext = field(default_factory=LambdaContext)

    def call(
        self,
        operation: str,
        workflow_id: object = None,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer of this operation (`publish_workflow`)."""
        handler = self.handlers[operation]
        path = {"tenant_id": self.tenant} | ({"workflow_id": workflow_id} if workflow_id is not None else {})
        event = api_event(handler.declaration.route, path=path, key=self.key, body=body, query=query, headers=headers)
        response = handler(event, self.context)
        return Answer(response["statusCode"], response["headers"], body_of(response))


ClientFor = Callable[..., Client]


@pytest.fixture
def handlers(platform_for: PlatformFor, engine_directory: Path) -> Mapping[str, EndpointFunction[Any]]:
    """The endpoints by operation, each with exactly the capabilities it declares."""
    found: dict[str, EndpointFunction[Any]] = {}
    for name in ENDPOINTS:
        handler: EndpointFunction[Any] = importlib.import_module(f"{FOLDER}.{name}").handler
        settings: dict[str, str] = {Setting.ENGINE_DIRECTORY: str(engine_directory)}
        found[handler.name] = handler.bound_to(platform_for(handler.declaration.needs, settings=settings))
    return found


@pytest.fixture
def client_for(handlers: Mapping[str, EndpointFunction[Any]], issue_key: IssueKey) -> ClientFor:
    """Clients with a key of the scope's own, made with these `permissions` and this `mode`."""

    def build(scope: Scope, **key_options: Any) -> Client:  # as IssueKey
        return Client(handlers, issue_key(scope, **key_options).text, str(scope.tenant_id))

    return build


@pytest.fixture
def client(client_for: ClientFor, customer: Scope) -> Client:
    """A customer with every permission."""
    return client_for(customer)
