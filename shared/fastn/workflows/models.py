"""Workflows, their versions and deployments, inside and on the wire."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, JsonValue, StringConstraints, model_validator

from fastn.access.models import Principal
from fastn.engine.languages import Language
from fastn.flows.models import FlowDefinition
from fastn.platform.ids import TenantId, WorkflowId
from fastn.platform.wire import STORABLE, Instant, PageRequest, StorableObject, WireModel

MAX_SOURCE_CHARACTERS = 512 * 1024

CheckSource = Callable[[str, Language], None]
"""Compiles a source without running it; raises ValidationFailed where it is not a workflow."""


class Tier(StrEnum):
    """How a workflow is executed: Instant answers inline, Standard and Long in the background."""

    INSTANT = "instant"
    STANDARD = "standard"
    LONG = "long"


class WorkflowStatus(StrEnum):
    """Whether a workflow may run; an archived one is inactive."""

    ACTIVE = "active"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed run is attempted again; `max_attempts` counts the first."""

    max_attempts: int = 3
    initial_interval_ms: int = 5_000
    backoff_coefficient: float = 2.0
    max_interval_ms: int = 60_000

    def as_stored(self) -> dict[str, float]:
        """The policy as a jsonb column keeps it."""
        return {
            "max_attempts": self.max_attempts,
            "initial_interval_ms": self.initial_interval_ms,
            "backoff_coefficient": self.backoff_coefficient,
            "max_interval_ms": self.max_interval_ms,
        }

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any] | None) -> "RetryPolicy | None":  # jsonb, as as_stored wrote it
        """The policy that `as_stored` told; None for null."""
        return None if stored is None else cls(**stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a save stores: the code and configuration being edited."""

    slug: str
    name: str
    description: str
    language: Language
    source: str
    tier: Tier
    timeout_seconds: int
    retry: RetryPolicy | None
    request_schema: Mapping[str, JsonValue] | None
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow as it is stored. `revision` counts the saves of its draft, publishing not included."""

    id: WorkflowId
    tenant_id: TenantId
    is_shared: bool
    draft: Draft
    archived_at: datetime | None
    latest_version: int
    revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSummaryRow:
    """A workflow as a list needs it: without its source."""

    id: WorkflowId
    is_shared: bool
    slug: str
    name: str
    description: str
    tier: Tier
    is_active: bool
    archived_at: datetime | None
    latest_version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowVersion:
    """An immutable snapshot of a draft, numbered from 1 within its workflow."""

    workflow_id: WorkflowId
    number: int
    source_sha256: bytes
    tier: Tier
    timeout_seconds: int
    retry: RetryPolicy | None
    request_schema: Mapping[str, JsonValue] | None
    published_at: datetime
    published_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The version that an environment runs, since when, and who sent it there."""

    id: uuid.UUID
    workflow_id: WorkflowId
    version_number: int
    environment: str
    deployed_at: datetime
    deployed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnableWorkflow:
    """What a run of a workflow pins: one source and the configuration published with it.

    `version_number` is None where the draft itself runs. `tenant_id` is the workflow's owner, which for
    a shared workflow is not the customer it runs for.
    """

    workflow_id: WorkflowId
    tenant_id: TenantId
    is_shared: bool
    slug: str
    version_number: int | None
    language: Language
    source: str
    source_sha256: bytes
    tier: Tier
    timeout_seconds: int
    request_schema: Mapping[str, JsonValue] | None
    retry: RetryPolicy | None


@dataclass(frozen=True, slots=True)
class WorkflowSource:
    """The text of a source and the language it is written in."""

    language: Language
    source: str


# ── On the wire ───────────────────────────────────────────────────────────────────────────────────

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), STORABLE]
Description = Annotated[str, Field(max_length=5_000, description="What the workflow does."), STORABLE]
Source = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SOURCE_CHARACTERS,
        description="The code: `export default async function(ctx) { … }`.",
    ),
    STORABLE,
]
Slug = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="The name in POST /api/v1/{flow_name}: lower case, hyphens or underscores alike.",
        examples=["sync-orders"],
    ),
]
TimeoutSeconds = Annotated[
    int,
    Field(
        ge=1,
        le=21_600,
        description="Seconds a run may take; absent means the tier's longest default. "
        "Instant 1 to 120 (60 unless given), Standard 5 to 900 (900), Long 30 to 21600 (21600).",
    ),
]
RequestSchema = Annotated[
    StorableObject, Field(description="A JSON Schema that `input` must match; without it any input is taken.")
]
SearchText = Annotated[str, Field(min_length=1, max_length=200, description="Part of the name or slug."), STORABLE]
EnvironmentName = Annotated[
    str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$", description="The name of an environment of the space.")
]


class RetryPolicyModel(WireModel):
    """How often and how soon a failed or timed-out run is attempted again, from the top.

    A write that an earlier attempt completed is not sent again: it returns what it returned then.
    """

    max_attempts: Annotated[int, Field(ge=1, le=20, description="Attempts in all, the first included.")] = 3
    initial_interval_ms: Annotated[int, Field(ge=1, le=3_600_000, description="The wait before the first retry.")] = (
        5_000
    )
    backoff_coefficient: Annotated[
        float, Field(ge=1, le=10, allow_inf_nan=False, description="What each wait is multiplied by for the next.")
    ] = 2.0
    max_interval_ms: Annotated[int, Field(ge=1, le=3_600_000, description="No wait is longer.")] = 60_000

    @model_validator(mode="after")
    def _intervals_are_ordered(self) -> "RetryPolicyModel":
        if self.max_interval_ms < self.initial_interval_ms:
            raise ValueError("maxIntervalMs must not be less than initialIntervalMs")
        return self


RetryMember = Annotated[
    RetryPolicyModel | None,
    Field(
        description="Absent or null: a failed run is final. Not for an Instant run whose caller waits for its answer."
    ),
]

FlowMember = Annotated[
    FlowDefinition | None, Field(description="A step flow instead of code; it is compiled, and its code is the source.")
]


class CreateWorkflow(WireModel):
    """A new workflow; only its name is required."""

    name: Name
    slug: Annotated[Slug | None, Field(description="Made from the name unless given.")] = None
    description: Description = ""
    language: Language = Language.JAVASCRIPT
    source: Annotated[Source | None, Field(description="A template that returns its input unless given.")] = None
    flow: FlowMember = None
    tier: Tier = Tier.STANDARD
    timeout_seconds: TimeoutSeconds | None = None
    retry: RetryMember = None
    request_schema: RequestSchema | None = None
    is_active: Annotated[bool, Field(description="False: nothing may run it.")] = True

    @model_validator(mode="after")
    def _is_written_in_one_way(self) -> "CreateWorkflow":
        if self.source is not None and self.flow is not None:
            raise ValueError("source or flow can be given, and not both")
        return self


class UpdateWorkflow(WireModel):
    """The whole draft, replacing the stored one; send the ETag you read in If-Match."""

    name: Name
    slug: Annotated[Slug | None, Field(description="The stored slug is kept unless given.")] = None
    description: Description = ""
    language: Language
    source: Annotated[Source | None, Field(description="The code; needed unless a flow is given.")] = None
    flow: FlowMember = None
    tier: Tier
    timeout_seconds: TimeoutSeconds | None = None
    retry: RetryMember = None
    request_schema: RequestSchema | None = None
    is_active: Annotated[bool, Field(description="True also brings an archived workflow back.")]

    @model_validator(mode="after")
    def _is_written_somehow(self) -> "UpdateWorkflow":
        if (self.source is None) == (self.flow is None):
            raise ValueError("source or flow is needed, and not both")
        return self


class DeployWorkflow(WireModel):
    """Which version to send where. An older version is a roll-back."""

    environment: EnvironmentName
    version: Annotated[int | None, Field(ge=1, le=2_147_483_647, description="The latest unless given.")] = None


class ListWorkflows(PageRequest):
    """Which workflows to list."""

    tier: Tier | None = None
    status: WorkflowStatus | None = None
    search: SearchText | None = None


@dataclass(frozen=True, slots=True)
class DraftEdit:
    """A save of an existing draft; `expected_revision` None saves over whatever is stored."""

    workflow_id: WorkflowId
    body: UpdateWorkflow
    expected_revision: int | None


@dataclass(frozen=True, slots=True)
class DeploymentOrder:
    """A wish to deploy, and whose wish it is."""

    workflow_id: WorkflowId
    body: DeployWorkflow
    principal: Principal


class DeploymentView(WireModel):
    """A version in an environment."""

    id: uuid.UUID
    workflow_id: uuid.UUID
    environment: str
    version: int
    deployed_at: Instant
    deployed_by: str


class VersionView(WireModel):
    """A published version. `source_sha256` (hex) is over the language, a line feed and the source."""

    workflow_id: uuid.UUID
    version: int
    source_sha256: str
    tier: Tier
    timeout_seconds: int
    retry: RetryPolicyModel | None
    request_schema: dict[str, JsonValue] | None
    published_at: Instant
    published_by: str


class WorkflowSummary(WireModel):
    """A workflow as a list shows it. `is_shared`: owned by the space's default tenant, run by all of its customers."""

    id: uuid.UUID
    slug: str
    name: str
    description: str
    tier: Tier
    status: WorkflowStatus
    is_shared: bool
    latest_version: Annotated[int, Field(description="0 until first published.")]
    archived_at: Instant | None
    created_at: Instant
    updated_at: Instant


class WorkflowView(WorkflowSummary):
    """A workflow in full: its draft, and what each environment runs. The ETag is the draft's revision."""

    language: Language
    source: str
    source_size_bytes: int
    timeout_seconds: int
    retry: RetryPolicyModel | None
    request_schema: dict[str, JsonValue] | None
    revision: int
    deployments: list[DeploymentView]
