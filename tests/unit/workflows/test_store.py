"""Which workflow a call runs, and that it is found by index."""

import json
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import Cursor
from psycopg.rows import DictRow

from fastn.engine.languages import Language
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database, Parameters, Session
from fastn.platform.ids import WorkflowId
from fastn.platform.scope import Scope
from fastn.tenants import service as tenants
from fastn.tenants.models import DRAFT, PRODUCTION, FoundedSpace
from fastn.workflows import rules, service, store
from fastn.workflows.models import (
    DraftEdit,
    ListWorkflows,
    RetryPolicy,
    RetryPolicyModel,
    RunnableWorkflow,
    Tier,
    UpdateWorkflow,
    WorkflowSource,
    WorkflowView,
)
from tests.unit.workflows.conftest import Desk, DeskFor, check_source

FIRST = "export default async () => 1;"
SECOND = "export default async () => 2;"


def _find(desk: Desk, slug_or_id: str, environment: str = PRODUCTION) -> RunnableWorkflow | None:
    with desk.database.transaction(desk.scope) as session:
        return store.find_runnable(session, desk.scope, slug_or_id, environment)


def _source_found(desk: Desk, slug: str, environment: str = PRODUCTION) -> str | None:
    runnable = _find(desk, slug, environment)
    return runnable and runnable.source


def _find_by_id(desk: Desk, workflow: WorkflowView, environment: str = PRODUCTION) -> RunnableWorkflow | None:
    with desk.database.transaction(desk.scope) as session:
        return store.find_runnable_by_id(session, desk.scope, workflow.id, environment)


def _source(desk: Desk, runnable: RunnableWorkflow) -> WorkflowSource | None:
    with desk.database.transaction(desk.scope) as session:
        return store.load_source(session, runnable.workflow_id, runnable.source_sha256)


def _save(desk: Desk, workflow: WorkflowView, **changes: Any) -> None:  # any member of the body
    members: dict[str, Any] = {
        "name": workflow.name,
        "language": workflow.language,
        "source": workflow.source,
        "tier": workflow.tier,
        "is_active": True,
    }
    edit = DraftEdit(WorkflowId(workflow.id), UpdateWorkflow(**(members | changes)), None)
    service.update_workflow(desk.database, desk.scope, edit=edit, check_source=check_source, clock=desk.clock)


# ── What runs ─────────────────────────────────────────────────────────────────────────────────────


def test_call_runs_the_deployed_version_and_not_the_draft(desk: Desk) -> None:
    workflow = desk.live(
        "Sync orders",
        source=FIRST,
        tier=Tier.INSTANT,
        timeout_seconds=9,
        retry=RetryPolicyModel(max_attempts=4),
        request_schema={"type": "object"},
    )
    _save(desk, workflow, source=SECOND, tier=Tier.LONG, language=Language.TYPESCRIPT)

    runnable = _find(desk, "sync_orders")

    assert runnable == RunnableWorkflow(
        workflow_id=WorkflowId(workflow.id),
        tenant_id=desk.scope.tenant_id or pytest.fail("a customer has a tenant id"),
        is_shared=False,
        slug="sync-orders",
        version_number=1,
        language=Language.JAVASCRIPT,
        source=FIRST,
        source_sha256=rules.hash_source(FIRST, Language.JAVASCRIPT),
        tier=Tier.INSTANT,
        timeout_seconds=9,
        retry=RetryPolicy(max_attempts=4),
        request_schema={"type": "object"},
    )
    assert runnable == _find(desk, "sync-orders") == _find(desk, str(workflow.id)) == _find_by_id(desk, workflow)


def test_each_environment_runs_what_was_deployed_there(desk: Desk) -> None:
    workflow = desk.live("Sync orders", "staging", source=FIRST)
    _save(desk, workflow, source=SECOND)
    desk.publish(workflow)
    desk.deploy(workflow)

    found = {environment: _find(desk, "sync-orders", environment) for environment in (PRODUCTION, "staging", "nowhere")}

    sources = {environment: runnable and runnable.source for environment, runnable in found.items()}
    assert sources == {PRODUCTION: SECOND, "staging": FIRST, "nowhere": None}


def test_roll_back_runs_the_older_version_again(desk: Desk) -> None:
    workflow = desk.live("Sync orders", source=FIRST)
    _save(desk, workflow, source=SECOND)
    desk.publish(workflow)
    desk.deploy(workflow)
    before = _find(desk, "sync-orders")
    desk.deploy(workflow, version=1)

    after = _find(desk, "sync-orders")

    assert before is not None
    assert after is not None
    assert (before.version_number, before.source) == (2, SECOND)
    assert (after.version_number, after.source) == (1, FIRST)


def test_draft_environment_runs_the_draft_as_it_stands(desk: Desk) -> None:
    workflow = desk.create("Sync orders", source=FIRST)
    _save(desk, workflow, source=SECOND, language=Language.TYPESCRIPT)

    runnable = _find(desk, "sync-orders", DRAFT)

    assert runnable is not None
    assert (runnable.version_number, runnable.source, runnable.language) == (None, SECOND, Language.TYPESCRIPT)
    assert runnable.source_sha256 == rules.hash_source(SECOND, Language.TYPESCRIPT)
    assert runnable == _find_by_id(desk, workflow, DRAFT)


def test_undeployed_workflow_is_not_runnable(desk: Desk) -> None:
    workflow = desk.create("Sync orders")
    desk.publish(workflow)

    assert _find(desk, "sync-orders") is None


def test_disabled_and_archived_workflows_are_not_runnable(desk: Desk) -> None:
    disabled, archived = desk.live("Sync orders"), desk.live("Sync invoices")
    _save(desk, disabled, is_active=False)
    service.archive_workflow(desk.database, desk.scope, workflow_id=WorkflowId(archived.id), clock=desk.clock)

    for workflow in (disabled, archived):
        for environment in (PRODUCTION, DRAFT):
            assert _find(desk, workflow.slug, environment) is None
            assert _find_by_id(desk, workflow, environment) is None


@pytest.mark.parametrize(
    "name", ["", "Sync-Orders", "sync orders", "no-such-flow", "0192f0c1-7a3b-7c4d-8e5f-a6b7c8d9e0f1", "a\0b"]
)
def test_name_of_no_workflow_finds_nothing(desk: Desk, name: str) -> None:
    desk.live("Sync orders")

    assert _find(desk, name) is None


# ── Shared workflows ──────────────────────────────────────────────────────────────────────────────


def test_shared_workflow_runs_for_every_customer_of_its_space(
    desk: Desk, desk_for: DeskFor, founded: FoundedSpace, other_founded: FoundedSpace
) -> None:
    shared = desk_for(founded.scope).live("Sync orders", source=FIRST)

    runnable = _find(desk, "sync-orders")

    assert runnable is not None
    assert (runnable.workflow_id, runnable.tenant_id, runnable.is_shared) == (shared.id, founded.scope.tenant_id, True)
    assert runnable == _find_by_id(desk, shared)
    assert _find(desk_for(other_founded.scope), "sync-orders") is None


def test_own_workflow_hides_the_shared_one_once_it_is_deployed(
    desk: Desk, desk_for: DeskFor, founded: FoundedSpace, sibling: Scope
) -> None:
    desk_for(founded.scope).live("Sync orders", source=FIRST)
    own = desk.create("Sync orders", source=SECOND)
    as_draft = _source_found(desk, "sync-orders")
    desk.publish(own)
    published = _source_found(desk, "sync-orders")
    desk.deploy(own)

    deployed = _source_found(desk, "sync-orders")
    siblings = _source_found(desk_for(sibling), "sync-orders")

    assert (as_draft, published, deployed, siblings) == (FIRST, FIRST, SECOND, FIRST)


def test_own_workflow_hides_the_shared_one_in_no_other_environment(
    desk: Desk, desk_for: DeskFor, founded: FoundedSpace
) -> None:
    space = desk_for(founded.scope)
    space.deploy(space.live("Sync orders", "staging", source=FIRST))
    desk.live("Sync orders", "staging", source=SECOND)

    assert _source_found(desk, "sync-orders", "staging") == SECOND
    assert _source_found(desk, "sync-orders", PRODUCTION) == FIRST


def test_own_draft_hides_the_shared_draft_from_its_creation_on(
    desk: Desk, desk_for: DeskFor, founded: FoundedSpace
) -> None:
    desk_for(founded.scope).create("Sync orders", source=FIRST)
    before = _source_found(desk, "sync-orders", DRAFT)
    desk.create("Sync orders", source=SECOND)

    assert (before, _source_found(desk, "sync-orders", DRAFT)) == (FIRST, SECOND)


def test_shared_workflow_is_back_where_the_own_one_is_inactive_or_archived(
    desk: Desk, desk_for: DeskFor, founded: FoundedSpace
) -> None:
    desk_for(founded.scope).live("Sync orders", source=FIRST)
    own = desk.live("Sync orders", source=SECOND)
    _save(desk, own, is_active=False)
    inactive = [_source_found(desk, "sync-orders", environment) for environment in (PRODUCTION, DRAFT)]
    _save(desk, own, is_active=True)
    active = [_source_found(desk, "sync-orders", environment) for environment in (PRODUCTION, DRAFT)]
    service.archive_workflow(desk.database, desk.scope, workflow_id=WorkflowId(own.id), clock=desk.clock)

    archived = [_source_found(desk, "sync-orders", environment) for environment in (PRODUCTION, DRAFT)]

    assert (inactive, active, archived) == ([FIRST] * 2, [SECOND] * 2, [FIRST] * 2)


def test_own_workflow_runs_where_the_shared_one_cannot(desk: Desk, desk_for: DeskFor, founded: FoundedSpace) -> None:
    desk_for(founded.scope).create("Sync orders", source=FIRST)
    desk.live("Sync orders", source=SECOND)

    assert _source_found(desk, "sync-orders") == SECOND


def test_another_customers_workflow_is_not_runnable(desk: Desk, desk_for: DeskFor, sibling: Scope) -> None:
    workflow = desk.live("Sync orders")
    stranger = desk_for(sibling)

    for environment in (PRODUCTION, DRAFT):
        assert _find(stranger, "sync-orders", environment) is None
        assert _find_by_id(stranger, workflow, environment) is None


# ── Pinned sources ────────────────────────────────────────────────────────────────────────────────


def test_pinned_source_outlives_every_later_save(desk: Desk) -> None:
    workflow = desk.create("Sync orders", source=FIRST)
    pinned = _find(desk, "sync-orders", DRAFT)
    _save(desk, workflow, source=SECOND)

    assert pinned is not None
    assert _source(desk, pinned) == WorkflowSource(Language.JAVASCRIPT, FIRST)


def test_customer_can_run_the_draft_of_a_shared_workflow(desk: Desk, desk_for: DeskFor, founded: FoundedSpace) -> None:
    desk_for(founded.scope).create("Sync orders", source=FIRST)

    pinned = _find(desk, "sync-orders", DRAFT)

    assert pinned is not None
    assert _source(desk, pinned) == WorkflowSource(Language.JAVASCRIPT, FIRST)


def test_same_text_in_two_languages_is_two_sources(desk: Desk) -> None:
    workflow = desk.create("Sync orders", source=FIRST)
    _save(desk, workflow, language=Language.TYPESCRIPT)

    pinned = _find(desk, "sync-orders", DRAFT)

    assert pinned is not None
    assert _source(desk, pinned) == WorkflowSource(Language.TYPESCRIPT, FIRST)


def test_source_of_another_customer_cannot_be_loaded(desk: Desk, desk_for: DeskFor, sibling: Scope) -> None:
    desk.live("Sync orders")
    pinned = _find(desk, "sync-orders")

    assert pinned is not None
    assert _source(desk_for(sibling), pinned) is None


# ── Plans ─────────────────────────────────────────────────────────────────────────────────────────


class PlannedSession(Session):
    """A session that keeps the plan of every statement it runs."""

    __slots__ = ("plans",)

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        super().__init__(connection)
        self.plans: list[Any] = []  # EXPLAIN's JSON

    def execute(self, query: LiteralString, parameters: Parameters | None = None) -> Cursor[DictRow]:
        row = super().execute(f"EXPLAIN (FORMAT JSON) {query}", parameters).fetchone()
        assert row is not None
        self.plans.append(row["QUERY PLAN"])
        return super().execute(query, parameters)


SEED: LiteralString = """
    INSERT INTO workflows (organization_id, space_id, tenant_id, id, is_shared, slug, name, language, source, tier,
                           timeout_seconds, latest_version, created_at, updated_at)
    SELECT %(organization)s, %(space)s, %(tenant)s, gen_random_uuid(), %(is_shared)s, %(prefix)s || n, 'Flow ' || n,
           'javascript', 'x', 'instant', 60, 1, now(), now()
    FROM generate_series(1, %(count)s) n
"""
SEED_TWIN: LiteralString = """
    INSERT INTO workflows (organization_id, space_id, tenant_id, id, is_shared, slug, name, language, source, tier,
                           timeout_seconds, latest_version, created_at, updated_at)
    SELECT %(organization)s, %(space)s, %(tenant)s, gen_random_uuid(), %(is_shared)s, 'twin', 'Twin', 'javascript',
           'x', 'instant', 60, 1, now(), now()
"""
SEED_REST: tuple[LiteralString, ...] = (
    """INSERT INTO workflow_sources (organization_id, space_id, tenant_id, is_shared, workflow_id, sha256, language,
                                     source, created_at)
       SELECT organization_id, space_id, tenant_id, is_shared, id,
              sha256(convert_to('javascript' || E'\\n' || source, 'UTF8')), language, source, now()
       FROM workflows WHERE tenant_id = %(tenant)s""",
    """INSERT INTO workflow_versions (organization_id, space_id, tenant_id, is_shared, workflow_id, number,
                                      source_sha256, tier, timeout_seconds, published_at, published_by)
       SELECT organization_id, space_id, tenant_id, is_shared, workflow_id, 1, sha256, 'instant', 60, now(), 'x'
       FROM workflow_sources WHERE tenant_id = %(tenant)s""",
    """INSERT INTO deployments (organization_id, space_id, tenant_id, is_shared, id, workflow_id, version_number,
                                environment, deployed_at, deployed_by)
       SELECT organization_id, space_id, tenant_id, is_shared, gen_random_uuid(), workflow_id, 1, environment, now(),
              'x'
       FROM workflow_versions, (VALUES ('production'), ('staging')) e (environment)
       WHERE tenant_id = %(tenant)s""",
)


@pytest.fixture
def crowded(database: Database, clock: FrozenClock, founded: FoundedSpace, owner_url: str) -> Scope:
    """One of twenty customers with a hundred workflows each, in a space that shares a hundred more."""
    space = Scope(founded.scope.organization_id, founded.scope.space_id)
    crowd = [
        tenants.add_tenant(database, space, external_id=f"customer-{n}", name=f"Customer {n}", clock=clock)
        for n in range(20)
    ]
    scopes = [founded.scope, *(space.for_tenant(tenant.id) for tenant in crowd)]
    for scope in scopes:
        is_shared = scope is founded.scope
        values = {
            "organization": scope.organization_id, "space": scope.space_id, "tenant": scope.tenant_id,
            "is_shared": is_shared, "prefix": "shared-" if is_shared else "own-", "count": 100,
        }  # fmt: skip
        with database.transaction(scope) as session:
            for statement in (SEED, SEED_TWIN, *SEED_REST):
                session.execute(statement, values)
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute("ANALYZE")
    return scopes[7]


def _planned(database: Database, scope: Scope, work: Callable[[Session, Scope], object]) -> str:
    """The plan of the one statement that this work runs. Fails if it runs none or several."""
    with database.transaction(scope) as session:
        planned = PlannedSession(session._connection)  # pyright: ignore[reportPrivateUsage]  # the same transaction
        assert work(planned, scope), "the plan of a statement that finds nothing proves nothing"
    (plan,) = planned.plans
    return json.dumps(plan)


def test_every_call_is_found_in_one_statement_of_index_scans(database: Database, crowded: Scope) -> None:
    plans: list[str] = []

    for name, environment in product(("own-42", "shared-42", "twin"), (PRODUCTION, DRAFT)):
        with database.transaction(crowded) as session:
            runnable = store.find_runnable(session, crowded, name, PRODUCTION)
        assert runnable is not None
        workflow_id, sha256 = runnable.workflow_id, runnable.source_sha256
        plans += [
            _planned(database, crowded, partial(store.find_runnable, slug_or_id=name, environment=environment)),
            _planned(
                database,
                crowded,
                partial(store.find_runnable_by_id, workflow_id=workflow_id, environment=environment),
            ),
            _planned(
                database,
                crowded,
                lambda session, _scope, pin=(workflow_id, sha256): store.load_source(session, *pin),
            ),
        ]

    assert len(plans) == 18
    assert [plan for plan in plans if "Seq Scan" in plan] == []


def test_list_reads_by_index(database: Database, crowded: Scope) -> None:
    query = ListWorkflows(tier=Tier.INSTANT)

    plan = _planned(database, crowded, partial(store.list_workflows, query=query, after=None))

    assert "Seq Scan" not in plan
