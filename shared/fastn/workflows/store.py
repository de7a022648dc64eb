"""Workflow drafts, versions, deployments and sources in PostgreSQL, and which of them a call runs.

What a tenant may see of its space's shared workflows, and that it may write none of them, is row-level
security's to decide; the owner is named here too, so that each statement finds its rows by index.
"""
# ruff: noqa: S608  # statements are put together of literals alone: Session.execute takes no other string

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from fastn.engine.languages import Language
from fastn.platform.database import Session
from fastn.platform.ids import TenantId, WorkflowId, parse_id
from fastn.platform.scope import Scope
from fastn.tenants.models import DRAFT
from fastn.workflows.models import (
    Deployment,
    Draft,
    ListWorkflows,
    RetryPolicy,
    RunnableWorkflow,
    Tier,
    Workflow,
    WorkflowSource,
    WorkflowStatus,
    WorkflowSummaryRow,
    WorkflowVersion,
)
from fastn.workflows.rules import hash_source, normalize_flow_name

Row = Mapping[str, Any]  # a row of psycopg's, whose column types only PostgreSQL knows

_DRAFT_COLUMNS = """id, tenant_id, is_shared, slug, name, description, language, source, tier, timeout_seconds,
    retry, request_schema, is_active, archived_at, latest_version, revision, created_at, updated_at"""
_SUMMARY_COLUMNS = """id, is_shared, slug, name, description, tier, is_active, archived_at, latest_version,
    created_at, updated_at"""
_VERSION_COLUMNS = """workflow_id, number, source_sha256, tier, timeout_seconds, retry, request_schema,
    published_at, published_by"""
_DEPLOYMENT_COLUMNS = "id, workflow_id, version_number, environment, deployed_at, deployed_by"

# Two index scans, of at most one row each: the tenant's own workflow and the shared one.
_BY_SLUG: LiteralString = """(
    SELECT w.* FROM workflows w WHERE w.tenant_id = %(tenant_id)s AND w.slug = %(slug)s
    UNION ALL
    SELECT w.* FROM workflows w
    WHERE w.space_id = %(space_id)s AND w.slug = %(slug)s AND w.is_shared AND w.tenant_id <> %(tenant_id)s
) w"""
_BY_ID: LiteralString = """(
    SELECT w.* FROM workflows w
    WHERE w.space_id = %(space_id)s AND w.id = %(id)s AND (w.tenant_id = %(tenant_id)s OR w.is_shared)
) w"""

# The choice follows every condition: a tenant's own workflow hides the shared one only where it can run.
_RUNNABLE: LiteralString = """WHERE w.is_active AND w.archived_at IS NULL
        ORDER BY w.tenant_id = %(tenant_id)s DESC LIMIT 1"""
_DEPLOYED: tuple[LiteralString, LiteralString] = (
    """SELECT w.id, w.tenant_id, w.is_shared, w.slug, v.number AS version_number, s.language, s.source,
           v.source_sha256, v.tier, v.timeout_seconds, v.retry, v.request_schema
       FROM""",
    f"""JOIN deployments d ON d.tenant_id = w.tenant_id AND d.workflow_id = w.id
            AND d.environment = %(environment)s AND d.superseded_at IS NULL
        JOIN workflow_versions v ON v.tenant_id = d.tenant_id AND v.workflow_id = d.workflow_id
            AND v.number = d.version_number
        JOIN workflow_sources s ON s.tenant_id = v.tenant_id AND s.workflow_id = v.workflow_id
            AND s.sha256 = v.source_sha256
        {_RUNNABLE}""",
)
_AS_DRAFT: tuple[LiteralString, LiteralString] = (
    """SELECT w.id, w.tenant_id, w.is_shared, w.slug, NULL::integer AS version_number, w.language, w.source,
           NULL::bytea AS source_sha256, w.tier, w.timeout_seconds, w.retry, w.request_schema
       FROM""",
    _RUNNABLE,
)


def insert_workflow(
    session: Session, scope: Scope, draft: Draft, *, workflow_id: WorkflowId, now: datetime
) -> Workflow | None:
    """The new workflow of the scope's tenant; None if the tenant has one of this slug.

    It is shared exactly if its owner is the space's default tenant.
    """
    row = session.execute(
        f"""INSERT INTO workflows (organization_id, space_id, tenant_id, id, is_shared, slug, name, description,
                language, source, tier, timeout_seconds, retry, request_schema, is_active, created_at, updated_at)
            SELECT t.organization_id, t.space_id, t.id, %(id)s, t.is_default, %(slug)s, %(name)s, %(description)s,
                %(language)s, %(source)s, %(tier)s, %(timeout_seconds)s, %(retry)s, %(request_schema)s,
                %(is_active)s, %(now)s, %(now)s
            FROM tenants t WHERE t.space_id = %(space_id)s AND t.id = %(tenant_id)s
            ON CONFLICT (tenant_id, slug) DO NOTHING
            RETURNING {_DRAFT_COLUMNS}""",
        {
            **_draft_values(draft), "id": workflow_id, "space_id": scope.space_id, "tenant_id": scope.tenant_id,
            "now": now,
        },
    ).fetchone()  # fmt: skip
    return _workflow(row) if row else None


def find_workflow(session: Session, scope: Scope, workflow_id: WorkflowId) -> Workflow | None:
    """The workflow with this id, if the scope's tenant owns it or it is shared with it; else None."""
    row = session.execute(
        f"""SELECT {_DRAFT_COLUMNS} FROM workflows WHERE space_id = %s AND id = %s AND (tenant_id = %s OR is_shared)""",
        (scope.space_id, workflow_id, scope.tenant_id),
    ).fetchone()
    return _workflow(row) if row else None


def lock_own_workflow(session: Session, scope: Scope, workflow_id: WorkflowId) -> Workflow | None:
    """The workflow with this id, if the scope's tenant owns it, locked until the transaction ends; else None.

    The lock puts saves, publications and deployments of one workflow in a row.
    """
    row = session.execute(
        f"SELECT {_DRAFT_COLUMNS} FROM workflows WHERE tenant_id = %s AND id = %s FOR UPDATE",
        (scope.tenant_id, workflow_id),
    ).fetchone()
    return _workflow(row) if row else None


def replace_draft(session: Session, workflow: Workflow, draft: Draft, *, now: datetime) -> Workflow | None:
    """The locked workflow with this draft and the next revision; None if its new slug is taken.

    An active draft is not archived. After None the transaction can only be rolled back.
    """
    try:
        row = session.execute(
            f"""UPDATE workflows SET slug = %(slug)s, name = %(name)s, description = %(description)s,
                    language = %(language)s, source = %(source)s, tier = %(tier)s,
                    timeout_seconds = %(timeout_seconds)s, retry = %(retry)s, request_schema = %(request_schema)s,
                    is_active = %(is_active)s, archived_at = CASE WHEN %(is_active)s THEN NULL ELSE archived_at END,
                    revision = revision + 1, updated_at = %(now)s
                WHERE tenant_id = %(tenant_id)s AND id = %(id)s
                RETURNING {_DRAFT_COLUMNS}""",
            {**_draft_values(draft), "tenant_id": workflow.tenant_id, "id": workflow.id, "now": now},
        ).fetchone()
    except UniqueViolation:
        return None
    return _workflow(row) if row else None


def archive_workflow(session: Session, workflow: Workflow, *, now: datetime) -> Workflow | None:
    """The locked workflow, archived now and inactive, with the next revision."""
    row = session.execute(
        f"""UPDATE workflows SET archived_at = %(now)s, is_active = false, revision = revision + 1, updated_at = %(now)s
            WHERE tenant_id = %(tenant_id)s AND id = %(id)s
            RETURNING {_DRAFT_COLUMNS}""",
        {"tenant_id": workflow.tenant_id, "id": workflow.id, "now": now},
    ).fetchone()
    return _workflow(row) if row else None


def list_workflows(
    session: Session, scope: Scope, query: ListWorkflows, *, after: uuid.UUID | None
) -> list[WorkflowSummaryRow]:
    """The tenant's own workflows and those shared with it, newest first, up to one more than the page holds."""
    rows = session.execute(
        f"""SELECT {_SUMMARY_COLUMNS} FROM workflows
            WHERE space_id = %(space_id)s AND (tenant_id = %(tenant_id)s OR is_shared)
              AND (%(after)s::uuid IS NULL OR id < %(after)s)
              AND (%(tier)s::text IS NULL OR tier = %(tier)s)
              AND (%(is_active)s::boolean IS NULL OR is_active = %(is_active)s)
              AND (%(search)s::text IS NULL OR strpos(lower(name), lower(%(search)s)) > 0
                   OR strpos(slug, lower(%(search)s)) > 0)
            ORDER BY id DESC LIMIT %(limit)s""",
        {
            "space_id": scope.space_id,
            "tenant_id": scope.tenant_id,
            "after": after,
            "tier": query.tier,
            "is_active": None if query.status is None else query.status is WorkflowStatus.ACTIVE,
            "search": query.search,
            "limit": query.limit + 1,
        },
    ).fetchall()
    return [_summary(row) for row in rows]


def keep_source(session: Session, workflow: Workflow, source_sha256: bytes, *, now: datetime) -> None:
    """Stores the draft's source under its hash, unless it is there."""
    session.execute(
        """INSERT INTO workflow_sources (organization_id, space_id, tenant_id, is_shared, workflow_id, sha256,
               language, source, created_at)
           SELECT organization_id, space_id, tenant_id, is_shared, id, %s, language, source, %s
           FROM workflows WHERE tenant_id = %s AND id = %s
           ON CONFLICT (tenant_id, workflow_id, sha256) DO NOTHING""",
        (source_sha256, now, workflow.tenant_id, workflow.id),
    )


def insert_next_version(
    session: Session, workflow: Workflow, source_sha256: bytes, *, now: datetime, actor: str
) -> WorkflowVersion | None:
    """The locked workflow's draft as its next version; the workflow's latest version follows in the same statement."""
    row = session.execute(
        f"""WITH numbered AS (
                UPDATE workflows SET latest_version = latest_version + 1
                WHERE tenant_id = %(tenant_id)s AND id = %(id)s RETURNING *
            )
            INSERT INTO workflow_versions (organization_id, space_id, tenant_id, is_shared, workflow_id, number,
                source_sha256, tier, timeout_seconds, retry, request_schema, published_at, published_by)
            SELECT organization_id, space_id, tenant_id, is_shared, id, latest_version, %(sha256)s, tier,
                timeout_seconds, retry, request_schema, %(now)s, %(actor)s
            FROM numbered
            RETURNING {_VERSION_COLUMNS}""",
        {
            "tenant_id": workflow.tenant_id, "id": workflow.id, "sha256": source_sha256, "now": now,
            "actor": actor,
        },
    ).fetchone()  # fmt: skip
    return _version(row) if row else None


def has_version(session: Session, workflow: Workflow, number: int) -> bool:
    """Whether this version was published."""
    return (
        session.execute(
            "SELECT FROM workflow_versions WHERE tenant_id = %s AND workflow_id = %s AND number = %s",
            (workflow.tenant_id, workflow.id, number),
        ).fetchone()
        is not None
    )


def list_deployments(session: Session, workflow: Workflow) -> list[Deployment]:
    """What each environment runs of this workflow now, by environment."""
    rows = session.execute(
        f"""SELECT {_DEPLOYMENT_COLUMNS} FROM deployments
            WHERE tenant_id = %s AND workflow_id = %s AND superseded_at IS NULL ORDER BY environment""",
        (workflow.tenant_id, workflow.id),
    ).fetchall()
    return [_deployment(row) for row in rows]


def supersede_deployment(session: Session, workflow: Workflow, environment: str, *, now: datetime) -> None:
    """Ends the locked workflow's deployment to this environment, if there is one."""
    session.execute(
        """UPDATE deployments SET superseded_at = %s
           WHERE tenant_id = %s AND workflow_id = %s AND environment = %s AND superseded_at IS NULL""",
        (now, workflow.tenant_id, workflow.id, environment),
    )


def insert_deployment(session: Session, scope: Scope, deployment: Deployment, *, is_shared: bool) -> None:
    """Stores the deployment that an environment runs from now on."""
    session.execute(
        """INSERT INTO deployments (organization_id, space_id, tenant_id, is_shared, id, workflow_id,
               version_number, environment, deployed_at, deployed_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            scope.organization_id, scope.space_id, scope.tenant_id, is_shared, deployment.id,
            deployment.workflow_id, deployment.version_number, deployment.environment, deployment.deployed_at,
            deployment.deployed_by,
        ),
    )  # fmt: skip


def find_runnable(session: Session, scope: Scope, slug_or_id: str, environment: str) -> RunnableWorkflow | None:
    """What a call by flow name or workflow id runs for the scope's tenant in this environment.

    The tenant's own workflow of the name if it can run there, else the one its space shares. A workflow
    that is inactive or archived cannot run; in the draft environment its draft runs, in every other the
    version deployed there. None if neither can run.
    """
    workflow_id = parse_id(slug_or_id)
    if workflow_id is not None:
        return find_runnable_by_id(session, scope, workflow_id, environment)
    slug = normalize_flow_name(slug_or_id)
    if slug is None:
        return None
    return _find_runnable(session, scope, _BY_SLUG, {"slug": slug, "environment": environment})


def find_runnable_by_id(
    session: Session, scope: Scope, workflow_id: uuid.UUID, environment: str
) -> RunnableWorkflow | None:
    """As `find_runnable`, for a route that names its workflow by id."""
    return _find_runnable(session, scope, _BY_ID, {"id": workflow_id, "environment": environment})


def load_source(session: Session, workflow_id: uuid.UUID, source_sha256: bytes) -> WorkflowSource | None:
    """The source that a run pinned, or None if the workflow never had it or is not the tenant's to run.

    Every save stores its source under its hash, so a pinned source is there even where a customer runs the
    draft of a shared workflow, whose rows it may not write.
    """
    row = session.execute(
        "SELECT language, source FROM workflow_sources WHERE workflow_id = %s AND sha256 = %s",
        (workflow_id, source_sha256),
    ).fetchone()
    return WorkflowSource(Language(row["language"]), row["source"]) if row else None


def _find_runnable(
    session: Session, scope: Scope, choice: LiteralString, wanted: Mapping[str, object]
) -> RunnableWorkflow | None:
    before, after = _AS_DRAFT if wanted["environment"] == DRAFT else _DEPLOYED
    row = session.execute(
        f"{before} {choice} {after}", {**wanted, "tenant_id": scope.tenant_id, "space_id": scope.space_id}
    ).fetchone()
    return _runnable(row) if row else None


def _draft_values(draft: Draft) -> dict[str, object]:
    return {
        "slug": draft.slug,
        "name": draft.name,
        "description": draft.description,
        "language": draft.language,
        "source": draft.source,
        "tier": draft.tier,
        "timeout_seconds": draft.timeout_seconds,
        "retry": None if draft.retry is None else Jsonb(draft.retry.as_stored()),
        "request_schema": None if draft.request_schema is None else Jsonb(draft.request_schema),
        "is_active": draft.is_active,
    }  # fmt: skip


def _workflow(row: Row) -> Workflow:
    return Workflow(
        id=WorkflowId(row["id"]),
        tenant_id=TenantId(row["tenant_id"]),
        is_shared=row["is_shared"],
        draft=Draft(
            slug=row["slug"],
            name=row["name"],
            description=row["description"],
            language=Language(row["language"]),
            source=row["source"],
            tier=Tier(row["tier"]),
            timeout_seconds=row["timeout_seconds"],
            retry=RetryPolicy.from_stored(row["retry"]),
            request_schema=row["request_schema"],
            is_active=row["is_active"],
        ),
        archived_at=row["archived_at"],
        latest_version=row["latest_version"],
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _summary(row: Row) -> WorkflowSummaryRow:
    return WorkflowSummaryRow(
        id=WorkflowId(row["id"]),
        is_shared=row["is_shared"],
        slug=row["slug"],
        name=row["name"],
        description=row["description"],
        tier=Tier(row["tier"]),
        is_active=row["is_active"],
        archived_at=row["archived_at"],
        latest_version=row["latest_version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _version(row: Row) -> WorkflowVersion:
    return WorkflowVersion(
        workflow_id=WorkflowId(row["workflow_id"]),
        number=row["number"],
        source_sha256=bytes(row["source_sha256"]),
        tier=Tier(row["tier"]),
        timeout_seconds=row["timeout_seconds"],
        retry=RetryPolicy.from_stored(row["retry"]),
        request_schema=row["request_schema"],
        published_at=row["published_at"],
        published_by=row["published_by"],
    )


def _deployment(row: Row) -> Deployment:
    return Deployment(
        id=row["id"],
        workflow_id=WorkflowId(row["workflow_id"]),
        version_number=row["version_number"],
        environment=row["environment"],
        deployed_at=row["deployed_at"],
        deployed_by=row["deployed_by"],
    )


def _runnable(row: Row) -> RunnableWorkflow:
    language = Language(row["language"])
    pinned = row["source_sha256"]
    return RunnableWorkflow(
        workflow_id=WorkflowId(row["id"]),
        tenant_id=TenantId(row["tenant_id"]),
        is_shared=row["is_shared"],
        slug=row["slug"],
        version_number=row["version_number"],
        language=language,
        source=row["source"],
        source_sha256=hash_source(row["source"], language) if pinned is None else bytes(pinned),
        tier=Tier(row["tier"]),
        timeout_seconds=row["timeout_seconds"],
        retry=RetryPolicy.from_stored(row["retry"]),
        request_schema=row["request_schema"],
    )
