"""Where keys lie, when items expire, how calls are read."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.errors import ValidationFailed
from fastn.platform.ids import ExecutionId, OrganizationId, SpaceId, TenantId
from fastn.platform.scope import Scope
from fastn.state.models import DeleteCall, GetCall, SetCall, StateOwner, StateScope, StoredState
from fastn.state.rules import MAX_KEY_BYTES, answer_to_get, expiry, has_expired, read_call, state_key, value_text

NOW = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
IDS = [uuid.UUID(int=number) for number in range(1, 6)]
OWNER = StateOwner(
    Scope(OrganizationId(IDS[0]), SpaceId(IDS[1]), TenantId(IDS[2])), "production", IDS[3], ExecutionId(IDS[4])
)
OTHER = uuid.UUID(int=99)
ids = st.sampled_from(IDS)
environments = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
owners = st.builds(
    StateOwner,
    st.builds(Scope, ids.map(OrganizationId), st.just(SpaceId(IDS[1])), ids.map(TenantId)),
    environments,
    ids,
    ids.map(ExecutionId),
)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60) | st.from_regex(r"[#0-9a-f-]{1,90}")


@given(owners, owners, keys, keys)
def test_two_owners_or_keys_never_share_a_place(one: StateOwner, other: StateOwner, key: str, other_key: str) -> None:
    same_org = (one.scope, one.environment, one.workflow_id) == (other.scope, other.environment, other.workflow_id)
    same_run = (one.scope, one.environment, one.execution_id) == (other.scope, other.environment, other.execution_id)

    org = {state_key(one, StateScope.ORG, key), state_key(other, StateScope.ORG, other_key)}
    run = {state_key(one, StateScope.INVOCATION, key), state_key(other, StateScope.INVOCATION, other_key)}

    assert (len(org) == 1) == (same_org and key == other_key)
    assert (len(run) == 1) == (same_run and key == other_key)
    assert org & run == set()


@pytest.mark.parametrize(
    "other",
    [
        replace(OWNER, scope=replace(OWNER.scope, organization_id=OrganizationId(OTHER))),
        replace(OWNER, scope=replace(OWNER.scope, tenant_id=TenantId(OTHER))),
        replace(OWNER, environment="staging"),
        replace(OWNER, workflow_id=OTHER),
    ],
)
def test_org_state_is_of_one_tenant_environment_and_workflow(other: StateOwner) -> None:
    assert state_key(OWNER, StateScope.ORG, "k") != state_key(other, StateScope.ORG, "k")


def test_org_state_is_shared_by_runs_and_invocation_state_is_not() -> None:
    other = replace(OWNER, execution_id=ExecutionId(OTHER))

    assert state_key(OWNER, StateScope.ORG, "k") == state_key(other, StateScope.ORG, "k")
    assert state_key(OWNER, StateScope.INVOCATION, "k") != state_key(other, StateScope.INVOCATION, "k")


def test_key_is_measured_in_bytes() -> None:
    longest = "é" * (MAX_KEY_BYTES // 2)

    assert len(state_key(OWNER, StateScope.ORG, longest).encode()) <= 2048  # what DynamoDB takes
    for key in ("", longest + "x"):
        with pytest.raises(ValidationFailed, match="1 to 1024 bytes"):
            state_key(OWNER, StateScope.ORG, key)


def test_expiry_is_in_whole_seconds_and_never_early() -> None:
    assert expiry(NOW, None, None) is None
    assert expiry(NOW, 60, None) == datetime(2026, 11, 22, 12, 1, 1, tzinfo=UTC)
    assert expiry(NOW, 0.5, None) == datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC)


def test_expiry_is_never_after_the_latest() -> None:
    latest = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)

    assert expiry(NOW, None, latest) == expiry(NOW, 86_400, latest) == latest
    assert expiry(NOW, 60, latest) == datetime(2026, 11, 22, 12, 1, 1, tzinfo=UTC)


def test_item_expires_at_the_instant_it_names() -> None:
    state = StoredState(state_key(OWNER, StateScope.ORG, "k"), "1", "v", NOW)

    assert has_expired(state, NOW)
    assert not has_expired(state, NOW.replace(microsecond=0))
    assert not has_expired(replace(state, expires_at=None), NOW)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{}", "key"),
        ('{"key": 5, "value": 1}', "key"),
        ('{"key": "k"}', "value"),
        ('{"key": "k", "value": 1, "options": 5}', "options"),
        ('{"key": "k", "value": 1, "options": {"scope": "org"}}', "options.scope"),
        ('{"key": "k", "value": 1, "options": {"ttl": 0}}', "options.ttl"),
        ('{"key": "k", "value": 1, "options": {"ttlSeconds": -1}}', "options.ttlSeconds"),
        ('{"key": "k", "value": 1, "options": {"ttlSeconds": 1e12}}', "options.ttlSeconds"),
        ('{"key": "k", "value": 1, "options": {"ttl": 5, "ttlSeconds": 5}}', "give one"),
        ('{"key": "k", "value": 1, "options": {"ifAbsent": true, "ifVersion": "v"}}', "exclude each other"),
        ('{"key": "k", "value": 1, "options": {"tll": 5}}', "options.tll"),
        ('{"key": "k", "value": "\\ud83d"}', "JSON"),
        ('{"key": "k", "value": ' + "[" * 5000 + "]" * 5000 + "}", "recursion"),
    ],
)
def test_unclear_call_is_refused_naming_the_member(arguments: str, problem: str) -> None:
    with pytest.raises(ValidationFailed, match=problem):
        read_call(SetCall, arguments)


def test_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_call(SetCall, '{"key": ["planted-1"], "value": 1, "options": {"ttl": "planted-2"}}')

    assert "planted" not in refused.value.message


def test_get_and_delete_take_no_options_of_set() -> None:
    for kind in (GetCall, DeleteCall):
        with pytest.raises(ValidationFailed, match=r"options\.ttl"):
            read_call(kind, '{"key": "k", "options": {"ttl": 5}}')


def test_null_is_a_value() -> None:
    assert read_call(SetCall, '{"key": "k", "value": null}').value is None


@pytest.mark.parametrize("text", ['{"a":[1,2.5,true,null,"é\\u0000"]}', "1e+21", '""', "[]"])
def test_value_is_kept_as_the_json_it_was(text: str) -> None:
    value = read_call(SetCall, f'{{"key": "k", "value": {text}}}').value

    assert value_text(value) == text


def test_answer_is_the_value_or_the_value_with_its_version() -> None:
    state = StoredState(state_key(OWNER, StateScope.ORG, "k"), '{"a":1}', 'v"1', None)

    assert answer_to_get(state, with_version=False) == '{"a":1}'
    assert answer_to_get(state, with_version=True) == '{"value":{"a":1},"version":"v\\"1"}'
    assert answer_to_get(None, with_version=False) == answer_to_get(None, with_version=True) == "null"
