"""The input of a flow is kept as it came, or refused before anything is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastn.http.endpoint import EndpointFunction
from fastn.platform.database import Database
from fastn.platform.resources import Setting
from fastn.platform.scope import Scope
from functions.api.flow_name.execute_flow import handler as execute_flow
from tests.foundation.api_calls import LambdaContext, api_event, body_of
from tests.foundation.platforms import PlatformFor
from tests.integration.workflows.conftest import Client

UNSTORABLE = [
    "1e400", "-1e400", "NaN", "Infinity", "-Infinity", r'"\u0000"', r'"a\u0000b"', r'{"a\u0000": 1}',
    r'[{"a": [1, "\u0000"]}]', '{"a": [[{"b": 1e999}]]}',
]  # fmt: skip


@dataclass(slots=True)
class StateMachines:
    """Keeps the names of the executions that were started."""

    started: list[str] = field(default_factory=list[str])

    def start_execution(self, **sent: str) -> Mapping[str, str]:
        """As Step Functions' client."""
        self.started.append(sent["name"])
        return {"executionArn": f"arn:{sent['name']}"}


@dataclass(frozen=True, slots=True)
class Flow:
    """A Standard flow that is live in production, and what comes of calling it."""

    handler: EndpointFunction[Any]
    key: str | None
    tenant: str
    machines: StateMachines
    database: Database
    scope: Scope

    def call(self, body: str) -> Mapping[str, Any]:
        """The answer to a call with this body, spelt as it is."""
        sent = api_event(
            "POST /api/v1/{flow_name}",
            path={"flow_name": "sync-orders"},
            key=self.key,
            body=body,
            headers={"x-fastn-space-tenantid": self.tenant},
        )
        return self.handler(sent, LambdaContext())

    def inputs(self) -> list[object]:
        """The inputs of the executions there are."""
        with self.database.transaction(self.scope) as session:
            return [row["input"] for row in session.execute("SELECT input FROM executions ORDER BY id").fetchall()]


@pytest.fixture
def flow(
    client: Client, database: Database, customer: Scope, platform_for: PlatformFor, engine_directory: Path
) -> Flow:
    """Called with the client's key."""
    made = client.call("create_workflow", body={"name": "Sync orders"})
    client.call("publish_workflow", made.body["id"])
    client.call("deploy_workflow", made.body["id"], body={"environment": "production"})
    machines = StateMachines()
    platform = platform_for(
        execute_flow.declaration.needs,
        clients=lambda service: machines,  # noqa: ARG005  # as ClientFactory names it
        settings={Setting.ENGINE_DIRECTORY: str(engine_directory)},
    )
    return Flow(execute_flow.bound_to(platform), client.key, client.tenant, machines, database, customer)


@pytest.mark.parametrize("text", UNSTORABLE)
def test_input_that_cannot_be_kept_is_refused_and_nothing_runs(flow: Flow, text: str) -> None:
    response = flow.call(f'{{"input": {text}}}')

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")
    assert [problem["field"] for problem in body_of(response)["details"]["problems"]] == ["input"]
    assert (flow.inputs(), flow.machines.started) == ([], [])


@pytest.mark.parametrize("text", [r'"\ud800"', "1" * 5000, "[" * 5000 + "]" * 5000, "{", ""])
def test_input_that_is_no_json_is_refused_and_nothing_runs(flow: Flow, text: str) -> None:
    response = flow.call(f'{{"input": {text}}}')

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")
    assert (flow.inputs(), flow.machines.started) == ([], [])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (r'{"a": ["\\u0000", "\u2028", 1.7976931348623157e308]}', {"a": [r"\u0000", "\u2028", 1.7976931348623157e308]}),
        ("1" * 4000, int("1" * 4000)),
        ("null", None),
    ],
)
def test_every_other_input_is_kept_as_it_came(flow: Flow, text: str, kept: object) -> None:
    response = flow.call(f'{{"input": {text}}}')

    assert response["statusCode"] == 202
    assert flow.inputs() == [kept]
    assert flow.machines.started == [f"{body_of(response)['executionId']}-1"]
