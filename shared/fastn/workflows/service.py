"""Editing, publishing, deploying, archiving and listing workflows."""

from fastn.errors import NotFound, PreconditionFailed, ValidationFailed
from fastn.platform.clock import Clock
from fastn.platform.database import Database, Session
from fastn.platform.ids import WorkflowId, new_id
from fastn.platform.scope import Scope
from fastn.platform.wire import Page
from fastn.tenants.store import has_environment
from fastn.workflows import rules, store
from fastn.workflows.errors import NothingPublished, SlugTaken, WorkflowArchived
from fastn.workflows.models import (
    MAX_SOURCE_CHARACTERS,
    CheckSource,
    CreateWorkflow,
    Deployment,
    DeploymentOrder,
    DeploymentView,
    Draft,
    DraftEdit,
    ListWorkflows,
    RetryPolicy,
    RetryPolicyModel,
    UpdateWorkflow,
    VersionView,
    Workflow,
    WorkflowSummary,
    WorkflowView,
)
from fastn.workflows.request_schemas import check_request_schema
from fastn.workflows.views import deployment_view, version_view, workflow_summary, workflow_view


def create_workflow(
    database: Database, scope: Scope, *, body: CreateWorkflow, check_source: CheckSource, clock: Clock
) -> WorkflowView:
    """A new workflow of the scope's tenant, as a draft that nothing runs before it is deployed.

    Raises ValidationFailed for a slug, time-out, schema or source that is none, SlugTaken if the tenant
    has a workflow of this slug.
    """
    slug = rules.choose_slug(body.slug, body.name)
    draft = _draft(body, slug=slug, source=_checked_source(body, check_source))
    now = clock.now()
    with database.transaction(scope) as session:
        workflow = store.insert_workflow(session, scope, draft, workflow_id=WorkflowId(new_id(now)), now=now)
        if workflow is None:
            raise SlugTaken(draft.slug)
        store.keep_source(session, workflow, rules.hash_source(draft.source, draft.language), now=now)
    return workflow_view(workflow, [])


def update_workflow(
    database: Database, scope: Scope, *, edit: DraftEdit, check_source: CheckSource, clock: Clock
) -> WorkflowView:
    """The workflow with its whole draft replaced; versions and deployments stay what they were.

    Saving an archived workflow as active brings it back. Raises NotFound for a workflow of another owner,
    PreconditionFailed if the draft is not at the expected revision, and what `create_workflow` raises.
    """
    body = edit.body
    source = _checked_source(body, check_source)
    now = clock.now()
    with database.transaction(scope) as session:
        stored = _lock_own(session, scope, edit.workflow_id)
        if edit.expected_revision not in (None, stored.revision):
            raise PreconditionFailed("The workflow was saved since you read it. Read it again, then save.")
        slug = rules.choose_slug(body.slug, body.name) if body.slug else stored.draft.slug
        draft = _draft(body, slug=slug, source=source)
        workflow = store.replace_draft(session, stored, draft, now=now)
        if workflow is None:
            raise SlugTaken(draft.slug)
        store.keep_source(session, workflow, rules.hash_source(draft.source, draft.language), now=now)
        return workflow_view(workflow, store.list_deployments(session, workflow))


def get_workflow(database: Database, scope: Scope, *, workflow_id: WorkflowId) -> WorkflowView:
    """The tenant's own workflow, or one shared with it. Raises NotFound for every other id."""
    with database.transaction(scope) as session:
        workflow = store.find_workflow(session, scope, workflow_id)
        if workflow is None:
            raise NotFound
        return workflow_view(workflow, store.list_deployments(session, workflow))


def list_workflows(database: Database, scope: Scope, *, query: ListWorkflows) -> Page[WorkflowSummary]:
    """A page of the tenant's own workflows and those shared with it, archived ones included, newest first."""
    after = query.after()
    with database.transaction(scope) as session:
        rows = store.list_workflows(session, scope, query, after=after)
    return Page[WorkflowSummary].of([workflow_summary(row) for row in rows], [row.id for row in rows], query.limit)


def publish_workflow(
    database: Database, scope: Scope, *, workflow_id: WorkflowId, actor: str, clock: Clock
) -> VersionView:
    """The draft as the workflow's next version, which never changes. What any environment runs stays the same.

    Raises NotFound for a workflow of another owner, WorkflowArchived for an archived one.
    """
    now = clock.now()
    with database.transaction(scope) as session:
        workflow = _lock_own(session, scope, workflow_id)
        if workflow.archived_at is not None:
            raise WorkflowArchived
        source_sha256 = rules.hash_source(workflow.draft.source, workflow.draft.language)
        store.keep_source(session, workflow, source_sha256, now=now)
        version = store.insert_next_version(session, workflow, source_sha256, now=now, actor=actor)
        if version is None:
            raise NotFound
    return version_view(version)


def deploy_workflow(database: Database, scope: Scope, *, order: DeploymentOrder, clock: Clock) -> DeploymentView:
    """What the environment runs from now on; deploying the version it runs already changes nothing.

    Raises NotFound for a workflow of another owner, WorkflowArchived for an archived one, NothingPublished
    before the first version, ValidationFailed for a version or environment that does not exist or is the
    draft's, Forbidden where a Test key names production.
    """
    environment = order.body.environment
    rules.check_deployable(environment, order.principal.mode)
    now = clock.now()
    with database.transaction(scope) as session:
        workflow = _lock_own(session, scope, order.workflow_id)
        if workflow.archived_at is not None:
            raise WorkflowArchived
        number = _version_to_deploy(session, workflow, order.body.version)
        if not has_environment(session, environment):
            raise ValidationFailed(f"environment: this space has no environment named {environment}.")
        for current in store.list_deployments(session, workflow):
            if (current.environment, current.version_number) == (environment, number):
                return deployment_view(current)
        deployment = Deployment(
            id=new_id(now),
            workflow_id=workflow.id,
            version_number=number,
            environment=environment,
            deployed_at=now,
            deployed_by=order.principal.actor,
        )
        store.supersede_deployment(session, workflow, environment, now=now)
        store.insert_deployment(session, scope, deployment, is_shared=workflow.is_shared)
    return deployment_view(deployment)


def archive_workflow(database: Database, scope: Scope, *, workflow_id: WorkflowId, clock: Clock) -> WorkflowView:
    """The workflow, archived and inactive: nothing runs it any more. Archiving it again changes nothing.

    Raises NotFound for a workflow of another owner.
    """
    with database.transaction(scope) as session:
        stored = _lock_own(session, scope, workflow_id)
        archived = stored
        if stored.archived_at is None:
            archived = store.archive_workflow(session, stored, now=clock.now()) or stored
        return workflow_view(archived, store.list_deployments(session, archived))


def _lock_own(session: Session, scope: Scope, workflow_id: WorkflowId) -> Workflow:
    workflow = store.lock_own_workflow(session, scope, workflow_id)
    if workflow is None:
        raise NotFound
    return workflow


def _version_to_deploy(session: Session, workflow: Workflow, wanted: int | None) -> int:
    if workflow.latest_version == 0:
        raise NothingPublished
    if wanted is not None and not store.has_version(session, workflow, wanted):
        raise ValidationFailed(f"version: this workflow has versions 1 to {workflow.latest_version}.")
    return wanted or workflow.latest_version


def _checked_source(body: CreateWorkflow | UpdateWorkflow, check_source: CheckSource) -> str:
    if body.flow is None:
        source = rules.DEFAULT_SOURCE if body.source is None else body.source
        check_source(source, body.language)
        return source
    # The compiler knows the connectors' names: only a save that brings a flow pays for its import.
    from fastn.flows.compiler import compile_flow
    from fastn.flows.errors import FlowInvalid

    compiled = compile_flow(body.flow)
    if len(compiled.source) > MAX_SOURCE_CHARACTERS:
        raise FlowInvalid(f"its code is longer than {MAX_SOURCE_CHARACTERS} characters.")
    compiled.checked(lambda source: check_source(source, body.language))
    return compiled.source


def _draft(body: CreateWorkflow | UpdateWorkflow, *, slug: str, source: str) -> Draft:
    if body.request_schema is not None:
        check_request_schema(body.request_schema)
    return Draft(
        slug=slug,
        name=body.name,
        description=body.description,
        language=body.language,
        source=source,
        tier=body.tier,
        timeout_seconds=rules.choose_timeout_seconds(body.tier, body.timeout_seconds),
        retry=_retry_policy(body.retry),
        request_schema=body.request_schema,
        is_active=body.is_active,
    )


def _retry_policy(given: RetryPolicyModel | None) -> RetryPolicy | None:
    if given is None:
        return None
    return RetryPolicy(
        max_attempts=given.max_attempts,
        initial_interval_ms=given.initial_interval_ms,
        backoff_coefficient=given.backoff_coefficient,
        max_interval_ms=given.max_interval_ms,
    )
