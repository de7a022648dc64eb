"""How workflows, versions and deployments are shown to callers."""

from collections.abc import Sequence
from datetime import datetime

from fastn.workflows.models import (
    Deployment,
    DeploymentView,
    RetryPolicy,
    RetryPolicyModel,
    VersionView,
    Workflow,
    WorkflowStatus,
    WorkflowSummary,
    WorkflowSummaryRow,
    WorkflowVersion,
    WorkflowView,
)


def workflow_view(workflow: Workflow, deployments: Sequence[Deployment]) -> WorkflowView:
    """The workflow in full, with what each environment runs of it."""
    draft = workflow.draft
    return WorkflowView(
        id=workflow.id,
        slug=draft.slug,
        name=draft.name,
        description=draft.description,
        tier=draft.tier,
        status=_status(draft.is_active, workflow.archived_at),
        is_shared=workflow.is_shared,
        latest_version=workflow.latest_version,
        archived_at=workflow.archived_at,
        created_at=workflow.created_at,
        updated_at=workflow.updated_at,
        language=draft.language,
        source=draft.source,
        source_size_bytes=len(draft.source.encode()),
        timeout_seconds=draft.timeout_seconds,
        retry=_retry_model(draft.retry),
        request_schema=None if draft.request_schema is None else dict(draft.request_schema),
        revision=workflow.revision,
        deployments=[deployment_view(deployment) for deployment in deployments],
    )


def workflow_summary(row: WorkflowSummaryRow) -> WorkflowSummary:
    """The workflow as a list shows it."""
    return WorkflowSummary(
        id=row.id,
        slug=row.slug,
        name=row.name,
        description=row.description,
        tier=row.tier,
        status=_status(row.is_active, row.archived_at),
        is_shared=row.is_shared,
        latest_version=row.latest_version,
        archived_at=row.archived_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def version_view(version: WorkflowVersion) -> VersionView:
    """A published version, without its source."""
    return VersionView(
        workflow_id=version.workflow_id,
        version=version.number,
        source_sha256=version.source_sha256.hex(),
        tier=version.tier,
        timeout_seconds=version.timeout_seconds,
        retry=_retry_model(version.retry),
        request_schema=None if version.request_schema is None else dict(version.request_schema),
        published_at=version.published_at,
        published_by=version.published_by,
    )


def deployment_view(deployment: Deployment) -> DeploymentView:
    """A version in an environment."""
    return DeploymentView(
        id=deployment.id,
        workflow_id=deployment.workflow_id,
        environment=deployment.environment,
        version=deployment.version_number,
        deployed_at=deployment.deployed_at,
        deployed_by=deployment.deployed_by,
    )


def _status(is_active: bool, archived_at: datetime | None) -> WorkflowStatus:
    return WorkflowStatus.ACTIVE if is_active and archived_at is None else WorkflowStatus.INACTIVE


def _retry_model(policy: RetryPolicy | None) -> RetryPolicyModel | None:
    if policy is None:
        return None
    return RetryPolicyModel(
        max_attempts=policy.max_attempts,
        initial_interval_ms=policy.initial_interval_ms,
        backoff_coefficient=policy.backoff_coefficient,
        max_interval_ms=policy.max_interval_ms,
    )
