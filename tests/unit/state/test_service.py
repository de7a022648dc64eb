"""fastn.state as a program calls it."""

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fastn.errors import ValidationFailed
from fastn.platform.clock import FrozenClock
from fastn.platform.ids import ExecutionId, OrganizationId, SpaceId, TenantId
from fastn.platform.scope import Scope
from fastn.state.models import StateOwner
from fastn.state.service import ProgramState
from fastn.state.store import StateStore

OWNER = StateOwner(
    Scope(OrganizationId(uuid.uuid4()), SpaceId(uuid.uuid4()), TenantId(uuid.uuid4())),
    "production",
    uuid.uuid4(),
    ExecutionId(uuid.uuid4()),
)


@pytest.fixture
def run(store: StateStore, clock: FrozenClock) -> ProgramState:
    """One run; what it keeps for itself is forgotten in an hour."""
    return ProgramState(store, OWNER, clock.now() + timedelta(hours=1))


def call(run: ProgramState, operation: str, write_id: str = "w-1", **arguments: Any) -> Any:
    """What the program is told."""
    return json.loads(run.perform(f"state.{operation}", json.dumps(arguments), write_id))


def test_the_documented_deduplication_works(run: ProgramState) -> None:
    existing = call(run, "get", key="deal:1")
    call(run, "set", key="deal:1", value={"processedAt": "2026-11-22T12:00:00.000Z"})

    assert existing is None
    assert call(run, "get", key="deal:1") == {"processedAt": "2026-11-22T12:00:00.000Z"}
    assert call(run, "delete", key="deal:1") is None
    assert call(run, "get", key="deal:1") is None


def test_a_set_tells_whether_it_was_stored_and_the_version(run: ProgramState) -> None:
    first = call(run, "set", "w-1", key="k", value=1, options={"ifAbsent": True})
    second = call(run, "set", "w-2", key="k", value=2, options={"ifAbsent": True})
    third = call(run, "set", "w-3", key="k", value=3, options={"ifVersion": "w-1"})
    repeated = call(run, "set", "w-3", key="k", value=3, options={"ifVersion": "w-1"})

    assert first == {"stored": True, "version": "w-1"}
    assert second == {"stored": False, "version": "w-1"}
    assert third == repeated == {"stored": True, "version": "w-3"}
    assert call(run, "get", key="k", options={"withVersion": True}) == {"value": 3, "version": "w-3"}


@pytest.mark.parametrize("name", ["ttl", "ttlSeconds"])
def test_a_value_with_a_ttl_is_gone_after_it(run: ProgramState, clock: FrozenClock, name: str) -> None:
    call(run, "set", key="k", value=1, options={name: 30})

    clock.advance(29)
    alive = call(run, "get", key="k")
    clock.advance(1)

    assert (alive, call(run, "get", key="k")) == (1, None)


def test_invocation_state_is_the_runs_own_and_ends_with_it(run: ProgramState, clock: FrozenClock) -> None:
    other_run = replace(run, owner=replace(OWNER, execution_id=ExecutionId(uuid.uuid4())))
    own = {"scope": "INVOCATION"}
    call(run, "set", key="k", value="mine", options={**own, "ttl": 86_400})

    seen = [call(reader, "get", key="k", options=options) for reader in (run, other_run) for options in (own, {})]
    clock.advance(3600)

    assert seen == ["mine", None, None, None]
    assert call(run, "get", key="k", options=own) is None


def test_two_customers_with_the_same_key_never_meet(run: ProgramState) -> None:
    sibling = replace(run, owner=replace(OWNER, scope=OWNER.scope.for_tenant(TenantId(uuid.uuid4()))))
    staging = replace(run, owner=replace(OWNER, environment="staging"))
    other_workflow = replace(run, owner=replace(OWNER, workflow_id=uuid.uuid4()))
    everyone = (run, sibling, staging, other_workflow)

    claims = [
        call(one, "set", f"w-{n}", key="k", value=n, options={"ifAbsent": True}) for n, one in enumerate(everyone)
    ]
    call(sibling, "delete", key="k")

    assert [claim["stored"] for claim in claims] == [True] * 4
    assert [call(one, "get", key="k") for one in everyone] == [0, None, 2, 3]


def test_unknown_operation_is_refused(run: ProgramState) -> None:
    with pytest.raises(ValidationFailed, match=r"state\.increment"):
        call(run, "increment", key="k")
