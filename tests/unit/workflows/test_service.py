"""The life of a workflow: draft, version, deployment, archive; on a real database."""

import threading
import uuid
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from fastn.access.models import KeyMode, Principal
from fastn.engine.languages import Language
from fastn.errors import Conflict, Forbidden, NotFound, PreconditionFailed, ValidationFailed
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database, Role
from fastn.platform.ids import WorkflowId, new_id
from fastn.platform.scope import Scope
from fastn.tenants.models import FoundedSpace
from fastn.workflows import rules, service
from fastn.workflows.errors import NothingPublished, SlugTaken, WorkflowArchived
from fastn.workflows.models import (
    DeploymentOrder,
    DeployWorkflow,
    DraftEdit,
    ListWorkflows,
    Tier,
    UpdateWorkflow,
    WorkflowStatus,
    WorkflowView,
)
from tests.unit.workflows.conftest import Desk, DeskFor, check_source

SOURCE = "export default async (ctx) => ctx.input;"


def _save(
    desk: Desk, workflow: WorkflowView, *, expected_revision: int | None = None, **changes: Any
) -> WorkflowView:  # any member of the body
    members: dict[str, Any] = {
        "name": workflow.name,
        "description": workflow.description,
        "language": workflow.language,
        "source": workflow.source,
        "tier": workflow.tier,
        "is_active": True,
    }
    body = UpdateWorkflow(**(members | changes))
    edit = DraftEdit(WorkflowId(workflow.id), body, expected_revision)
    return service.update_workflow(desk.database, desk.scope, edit=edit, check_source=check_source, clock=desk.clock)


def _get(desk: Desk, workflow: WorkflowView) -> WorkflowView:
    return service.get_workflow(desk.database, desk.scope, workflow_id=WorkflowId(workflow.id))


def _archive(desk: Desk, workflow: WorkflowView) -> WorkflowView:
    desk.clock.advance(1)
    return service.archive_workflow(desk.database, desk.scope, workflow_id=WorkflowId(workflow.id), clock=desk.clock)


def _names(desk: Desk, **filters: Any) -> list[str]:  # any query parameter
    page = service.list_workflows(desk.database, desk.scope, query=ListWorkflows(**filters))
    return [item.name for item in page.data]


# ── Drafts ────────────────────────────────────────────────────────────────────────────────────────


def test_new_workflow_starts_as_an_unpublished_draft_of_the_template(desk: Desk) -> None:
    created = desk.create("Sync orders")

    assert (created.slug, created.tier, created.timeout_seconds) == ("sync-orders", Tier.STANDARD, 900)
    assert (created.latest_version, created.revision, created.deployments) == (0, 1, [])
    assert created.source == rules.DEFAULT_SOURCE
    assert created.source_size_bytes == len(rules.DEFAULT_SOURCE)
    assert created.status is WorkflowStatus.ACTIVE
    assert created.is_shared is False
    assert _get(desk, created) == created


def test_every_member_of_a_draft_comes_back_as_it_was_given(desk: Desk) -> None:
    schema: Mapping[str, Any] = {"type": "object", "properties": {"n": {"maximum": 1.5}}, "title": "Ω"}

    created = desk.create(
        "Sync", slug="from_shop", description="Moves\norders.", language=Language.TYPESCRIPT, source=SOURCE + " // ü",
        tier=Tier.INSTANT, timeout_seconds=7, request_schema=schema, is_active=False,
    )  # fmt: skip

    stored = _get(desk, created)
    assert stored == created
    assert (stored.slug, stored.description, stored.language) == ("from-shop", "Moves\norders.", "typescript")
    assert (stored.timeout_seconds, stored.request_schema) == (7, schema)
    assert stored.source == SOURCE + " // ü"
    assert stored.source_size_bytes == len(stored.source) + 1
    assert stored.status is WorkflowStatus.INACTIVE


def test_workflow_of_the_default_tenant_is_shared(desk_for: DeskFor, founded: FoundedSpace) -> None:
    assert desk_for(founded.scope).create("Sync orders").is_shared is True


def test_slug_is_taken_once_per_tenant(desk: Desk, desk_for: DeskFor, sibling: Scope) -> None:
    desk.create("Sync orders")

    desk_for(sibling).create("Sync orders")
    with pytest.raises(SlugTaken):
        desk.create("Something else", slug="sync_orders")


def test_invalid_drafts_are_refused_and_nothing_is_stored(desk: Desk) -> None:
    for members in (
        {"slug": "tenants"},
        {"source": "return 1"},
        {"tier": Tier.INSTANT, "timeout_seconds": 121},
        {"request_schema": {"type": "nonsense"}},
    ):
        with pytest.raises(ValidationFailed):
            desk.create("Sync orders", **members)

    assert _names(desk) == []


FLOW = {"name": "sync", "steps": [{"name": "first", "code": "return 1;"}]}


def test_a_step_flow_is_saved_as_the_code_it_compiles_to(desk: Desk) -> None:
    created = desk.create("Sync orders", flow=FLOW)
    saved = _save(desk, created, source=None, flow=FLOW | {"output": "{{steps.first.output}}"})

    assert 'step("first", {' in created.source
    assert saved.source.replace('  output: "{{steps.first.output}}",\n', "") == created.source
    assert desk.publish(saved).source_sha256 == rules.hash_source(saved.source, saved.language).hex()


def test_a_step_flow_that_cannot_run_is_refused_naming_the_step(desk: Desk) -> None:
    flow = {"name": "sync", "steps": [{"name": "ask_ada", "type": "approval"}]}

    with pytest.raises(ValidationFailed, match=r"^step ask_ada: approval steps are not available"):
        desk.create("Sync orders", flow=flow)

    assert _names(desk) == []


def test_save_replaces_the_draft_and_counts_a_revision(desk: Desk) -> None:
    created = desk.create("Sync orders", request_schema={"type": "object"}, description="old")
    desk.clock.advance(60)

    saved = _save(desk, created, name="Sync all orders", description="", source=SOURCE, tier=Tier.LONG)

    assert (saved.name, saved.slug, saved.source) == ("Sync all orders", "sync-orders", SOURCE)
    assert (saved.tier, saved.timeout_seconds, saved.request_schema, saved.description) == (Tier.LONG, 21_600, None, "")
    assert saved.revision == 2
    assert saved.updated_at > created.updated_at
    assert saved.created_at == created.created_at
    assert _get(desk, created) == saved


def test_save_over_another_revision_is_refused(desk: Desk) -> None:
    created = desk.create("Sync orders")
    _save(desk, created, expected_revision=1, description="first")

    with pytest.raises(PreconditionFailed):
        _save(desk, created, expected_revision=1, description="second")

    assert _get(desk, created).description == "first"


def test_save_may_not_take_anothers_slug(desk: Desk) -> None:
    desk.create("Sync orders")
    second = desk.create("Sync invoices")

    with pytest.raises(SlugTaken):
        _save(desk, second, slug="sync_orders")

    assert _save(desk, second, slug="sync-invoices-2").slug == "sync-invoices-2"


def test_save_is_checked_as_creation_is(desk: Desk) -> None:
    created = desk.create("Sync orders")

    refused: list[dict[str, Any]] = [
        {"source": "x"},
        {"slug": "health"},
        {"timeout_seconds": 4},
        {"request_schema": {"type": 1}},
    ]
    for changes in refused:
        with pytest.raises(ValidationFailed):
            _save(desk, created, **changes)

    assert _get(desk, created) == created


# ── Versions ──────────────────────────────────────────────────────────────────────────────────────


def test_publishing_makes_the_next_version_and_leaves_the_draft_alone(desk: Desk) -> None:
    created = desk.create("Sync orders", source=SOURCE, request_schema={"type": "object"})

    first = desk.publish(created)
    second = desk.publish(created)

    assert (first.version, second.version) == (1, 2)
    assert first.source_sha256 == rules.hash_source(SOURCE, Language.JAVASCRIPT).hex()
    assert first.request_schema == {"type": "object"}
    assert first.published_by == "api_key:1"
    after = _get(desk, created)
    assert (after.latest_version, after.revision, after.deployments) == (2, 1, [])


def test_parallel_publications_get_numbers_of_their_own(desk: Desk, databases: Mapping[Role, str]) -> None:
    created = desk.create("Sync orders")
    numbers: list[int] = []

    def publish() -> None:
        database = Database(databases[Role.APP])
        for _ in range(5):
            version = service.publish_workflow(
                database, desk.scope, workflow_id=WorkflowId(created.id), actor="a", clock=desk.clock
            )
            numbers.append(version.version)
        database.close()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(numbers) == list(range(1, 21))


def test_published_version_cannot_be_changed(desk: Desk) -> None:
    desk.live("Sync orders")

    for statement in (
        "UPDATE workflow_versions SET tier = 'long'", "DELETE FROM workflow_versions",
        "UPDATE workflow_sources SET source = ''", "DELETE FROM workflow_sources",
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege), desk.database.transaction(desk.scope) as session:
            session.execute(statement)


# ── Deployments ───────────────────────────────────────────────────────────────────────────────────


def test_latest_version_is_deployed_unless_another_is_named(desk: Desk) -> None:
    created = desk.create("Sync orders")
    desk.publish(created)
    desk.publish(created)

    latest = desk.deploy(created)
    staged = desk.deploy(created, "staging", version=1)

    assert (latest.environment, latest.version) == ("production", 2)
    assert (staged.environment, staged.version) == ("staging", 1)
    assert _get(desk, created).deployments == [latest, staged]


def test_older_version_rolls_back_and_the_history_stays(desk: Desk) -> None:
    created = desk.live("Sync orders")
    desk.publish(created)
    desk.deploy(created)

    rolled_back = desk.deploy(created, version=1)

    assert _get(desk, created).deployments == [rolled_back]
    with desk.database.transaction(desk.scope) as session:
        rows = session.execute(
            "SELECT version_number, superseded_at IS NULL AS is_current FROM deployments ORDER BY id"
        ).fetchall()
    assert [tuple(row.values()) for row in rows] == [(1, False), (2, False), (1, True)]


def test_deploying_what_runs_already_changes_nothing(desk: Desk) -> None:
    created = desk.live("Sync orders")
    before = _get(desk, created)

    again = desk.deploy(created)

    assert [again] == before.deployments
    assert _get(desk, created) == before


def test_parallel_deployments_leave_one_current(desk: Desk, databases: Mapping[Role, str]) -> None:
    created = desk.create("Sync orders")
    for _ in range(4):
        desk.publish(created)
    principal = Principal(new_id(desk.clock.now()), KeyMode.LIVE, desk.scope, frozenset())
    errors: list[Exception] = []

    def deploy(version: int) -> None:
        database = Database(databases[Role.APP])
        body = DeployWorkflow(environment="production", version=version)
        order = DeploymentOrder(WorkflowId(created.id), body, principal)
        try:
            service.deploy_workflow(database, desk.scope, order=order, clock=FrozenClock())
        except Exception as error:  # noqa: BLE001  # handed to the test's own thread
            errors.append(error)
        database.close()

    threads = [threading.Thread(target=deploy, args=(version,)) for version in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(_get(desk, created).deployments) == 1


def test_unpublished_workflow_cannot_be_deployed(desk: Desk) -> None:
    with pytest.raises(NothingPublished):
        desk.deploy(desk.create("Sync orders"))


@pytest.mark.parametrize(("environment", "version"), [("nowhere", None), ("draft", None), ("production", 2)])
def test_unknown_environment_and_version_are_refused(desk: Desk, environment: str, version: int | None) -> None:
    created = desk.create("Sync orders")
    desk.publish(created)

    with pytest.raises(ValidationFailed):
        desk.deploy(created, environment, version=version)

    assert _get(desk, created).deployments == []


def test_test_key_deploys_everywhere_but_to_production(desk: Desk) -> None:
    created = desk.create("Sync orders")
    desk.publish(created)
    tester = Principal(new_id(desk.clock.now()), KeyMode.TEST, desk.scope, frozenset())

    def deploy(environment: str) -> None:
        order = DeploymentOrder(WorkflowId(created.id), DeployWorkflow(environment=environment), tester)
        service.deploy_workflow(desk.database, desk.scope, order=order, clock=desk.clock)

    deploy("staging")
    with pytest.raises(Forbidden):
        deploy("production")
    assert [deployment.environment for deployment in _get(desk, created).deployments] == ["staging"]


# ── Archive ───────────────────────────────────────────────────────────────────────────────────────


def test_archiving_deactivates_and_may_be_repeated(desk: Desk) -> None:
    created = desk.live("Sync orders")

    archived = _archive(desk, created)
    again = _archive(desk, created)

    assert archived.archived_at is not None
    assert archived.status is WorkflowStatus.INACTIVE
    assert archived.revision == 2
    assert again == archived == _get(desk, created)


def test_archived_workflow_is_neither_published_nor_deployed(desk: Desk) -> None:
    created = desk.live("Sync orders")
    _archive(desk, created)

    with pytest.raises(WorkflowArchived):
        desk.publish(created)
    with pytest.raises(WorkflowArchived):
        desk.deploy(created, "staging")


def test_archived_workflow_comes_back_when_saved_as_active(desk: Desk) -> None:
    created = desk.live("Sync orders")
    _archive(desk, created)

    still_archived = _save(desk, created, is_active=False)
    back = _save(desk, created, is_active=True)

    assert still_archived.archived_at is not None
    assert (back.archived_at, back.status) == (None, WorkflowStatus.ACTIVE)
    assert [deployment.version for deployment in back.deployments] == [1]


def test_conflicts_are_conflicts() -> None:
    assert {error.status for error in (SlugTaken("x"), WorkflowArchived(), NothingPublished())} == {Conflict.status}


# ── Whose ─────────────────────────────────────────────────────────────────────────────────────────


def test_shared_workflow_is_seen_by_every_customer_and_written_by_its_owner_alone(
    desk: Desk, desk_for: DeskFor, founded: FoundedSpace
) -> None:
    owner = desk_for(founded.scope)
    shared = owner.live("Sync orders")

    assert _get(desk, shared) == _get(owner, shared)
    assert _names(desk) == ["Sync orders"]
    for write in (_save, _archive, Desk.publish, Desk.deploy):
        with pytest.raises(NotFound):
            write(desk, shared)
    assert _get(owner, shared).revision == 1


def test_another_customers_workflow_looks_like_a_missing_one(
    desk: Desk, desk_for: DeskFor, sibling: Scope, other_founded: FoundedSpace
) -> None:
    own = desk.create("Sync orders")

    for stranger in (desk_for(sibling), desk_for(other_founded.scope)):
        for use in (_get, _save, _archive, Desk.publish, Desk.deploy):
            with pytest.raises(NotFound):
                use(stranger, own)
        assert _names(stranger) == []


def test_another_organizations_shared_workflow_is_invisible(
    desk: Desk, desk_for: DeskFor, other_founded: FoundedSpace
) -> None:
    foreign = desk_for(other_founded.scope).live("Sync orders")

    with pytest.raises(NotFound):
        _get(desk, foreign)
    assert _names(desk) == []


# ── List ──────────────────────────────────────────────────────────────────────────────────────────


def test_list_is_newest_first_in_pages_that_neither_repeat_nor_skip(
    desk: Desk, desk_for: DeskFor, founded: FoundedSpace
) -> None:
    owner = desk_for(founded.scope)
    names = [(owner if number % 3 == 0 else desk).create(f"Flow {number}").name for number in range(7)]
    query = ListWorkflows(limit=3)
    seen: list[list[str]] = []

    while True:
        page = service.list_workflows(desk.database, desk.scope, query=query)
        seen.append([item.name for item in page.data])
        if page.next_cursor is None:
            break
        query = ListWorkflows(limit=3, cursor=page.next_cursor)

    newest_first = names[::-1]
    assert seen == [newest_first[:3], newest_first[3:6], newest_first[6:]]


def test_list_shows_the_default_tenant_its_own_once(desk_for: DeskFor, founded: FoundedSpace) -> None:
    owner = desk_for(founded.scope)
    owner.create("Sync orders")

    assert _names(owner) == ["Sync orders"]


def test_list_is_filtered_by_tier_status_and_part_of_the_name(desk: Desk) -> None:
    desk.create("Sync orders", tier=Tier.INSTANT)
    desk.create("Sync 100% of invoices", tier=Tier.LONG)
    _archive(desk, desk.create("Old sync"))
    desk.create("Switched off", is_active=False)

    assert _names(desk, tier=Tier.INSTANT) == ["Sync orders"]
    assert _names(desk, status=WorkflowStatus.ACTIVE) == ["Sync 100% of invoices", "Sync orders"]
    assert _names(desk, status=WorkflowStatus.INACTIVE) == ["Switched off", "Old sync"]
    assert _names(desk, search="SYNC") == ["Old sync", "Sync 100% of invoices", "Sync orders"]
    assert _names(desk, search="sync-o") == ["Sync orders"]
    assert _names(desk, search="100%") == ["Sync 100% of invoices"]
    assert _names(desk, search="_") == []
    assert _names(desk, tier=Tier.LONG, status=WorkflowStatus.INACTIVE) == []


def test_cursor_of_no_list_is_refused(desk: Desk) -> None:
    with pytest.raises(ValidationFailed):
        _names(desk, cursor="!!")


def test_missing_workflow_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        service.get_workflow(desk.database, desk.scope, workflow_id=WorkflowId(uuid.uuid4()))
