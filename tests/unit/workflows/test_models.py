"""What the wire models of workflows take and refuse."""

import json

import pytest
from pydantic import ValidationError

from fastn.workflows.models import CreateWorkflow, DeployWorkflow, ListWorkflows, RetryPolicyModel, UpdateWorkflow

UPDATE = {"name": "Sync", "language": "javascript", "source": "x", "tier": "instant", "isActive": True}


def test_new_workflow_needs_no_more_than_a_name() -> None:
    body = CreateWorkflow.model_validate_json('{"name": "  Sync orders "}')

    assert body.name == "Sync orders"
    assert (body.tier, body.language, body.is_active) == ("standard", "javascript", True)


@pytest.mark.parametrize("missing", ["name", "language", "source", "tier", "isActive"])
def test_update_replaces_the_whole_draft_so_it_must_name_it(missing: str) -> None:
    UpdateWorkflow.model_validate(UPDATE)

    with pytest.raises(ValidationError):
        UpdateWorkflow.model_validate({name: value for name, value in UPDATE.items() if name != missing})


@pytest.mark.parametrize(
    "member",
    [
        '"name": "a\\u0000b"',
        '"name": "x", "description": "\\u0000"',
        '"name": "x", "source": "\\u0000"',
        '"name": "x", "requestSchema": {"const": "\\u0000"}',
        '"name": "x", "requestSchema": {"a\\u0000": 1}',
        '"name": "x", "requestSchema": {"enum": [[{"a": "\\u0000"}]]}',
        '"name": "x", "requestSchema": {"maximum": 1e400}',
        '"name": "x", "requestSchema": {"maximum": NaN}',
    ],
)
def test_what_postgresql_cannot_store_is_refused_at_the_edge(member: str) -> None:
    with pytest.raises(ValidationError, match="must not contain"):
        CreateWorkflow.model_validate_json(f"{{{member}}}")


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "x", "colour": "red"}',
        '{"name": "x", "retry": {"attempts": 3}}',
        '{"name": " "}',
        '{"name": "x", "tier": "LONG"}',
    ],
)
def test_unknown_members_and_values_are_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        CreateWorkflow.model_validate_json(body)


def test_retry_policy_defaults_are_the_documented_ones() -> None:
    assert json.loads(RetryPolicyModel().model_dump_json(by_alias=True)) == {
        "maxAttempts": 3,
        "initialIntervalMs": 5000,
        "backoffCoefficient": 2.0,
        "maxIntervalMs": 60000,
    }
    assert CreateWorkflow.model_validate_json('{"name": "x"}').retry is None


@pytest.mark.parametrize(
    "retry",
    [
        '{"maxAttempts": 0}',
        '{"maxAttempts": 21}',
        '{"initialIntervalMs": 0}',
        '{"initialIntervalMs": 70000}',
        '{"backoffCoefficient": 0.5}',
        '{"backoffCoefficient": 1e400}',
    ],
)
def test_retry_policy_out_of_bounds_is_refused(retry: str) -> None:
    with pytest.raises(ValidationError):
        CreateWorkflow.model_validate_json(f'{{"name": "x", "retry": {retry}}}')


@pytest.mark.parametrize("environment", ["", "../production", "prod uction", "production\n"])
def test_environment_must_be_a_name(environment: str) -> None:
    with pytest.raises(ValidationError):
        DeployWorkflow(environment=environment)


def test_list_query_is_read_from_its_wire_names() -> None:
    query = ListWorkflows.model_validate_strings({"limit": "5", "tier": "long", "status": "inactive"}, by_alias=True)

    assert (query.limit, query.tier, query.status) == (5, "long", "inactive")


def test_a_workflow_is_code_or_a_flow_and_not_both() -> None:
    flow = {"name": "f", "steps": [{"name": "a", "code": "return 1;"}]}
    update = {name: value for name, value in UPDATE.items() if name != "source"} | {"flow": flow}
    UpdateWorkflow.model_validate(update)
    CreateWorkflow.model_validate({"name": "x", "flow": flow})

    with pytest.raises(ValidationError, match="not both"):
        UpdateWorkflow.model_validate(update | {"source": "x"})
    with pytest.raises(ValidationError, match="not both"):
        CreateWorkflow.model_validate({"name": "x", "flow": flow, "source": "x"})
