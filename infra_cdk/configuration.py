"""What an operator chooses about an installation; read from the CDK context (`-c name=value`)."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LOCAL_STAGE = "local"
"""The stage that the embedded runtime deploys: no network, no database, no layers."""

RetentionDays = Literal[1, 3, 7, 14, 30, 90, 365]
"""How long CloudWatch may keep a log: some of the periods it knows."""


class Nat(StrEnum):
    """How functions inside the VPC reach AWS services and the internet."""

    INSTANCE = "instance"
    """One t4g.nano that translates addresses: about $3 a month, and a single machine."""
    GATEWAY = "gateway"
    """A managed NAT gateway: about $33 a month and $0.045 per GB."""
    NONE = "none"
    """No way out but S3 and DynamoDB; for accounts that attach routes of their own."""


class InstallationConfiguration(BaseModel):
    """One installation of the platform in one AWS account and region."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$")] = "production"
    """The installation's name: prefixes every name it creates. At most 20 characters, since a Lambda's has 64."""
    domain: str | None = None
    """The host name of the API. Needs `certificate_arn`; the DNS record is the operator's to make."""
    certificate_arn: str | None = None
    """The ACM certificate of `domain`, in the installation's region."""
    nat: Nat = Nat.INSTANCE
    alarm_email: str | None = None
    """Who is told of dead letters, failing functions and failing requests; None keeps the alarms silent."""
    account: Annotated[str, Field(pattern=r"^\d{12}$")] | None = None
    """The AWS account; None is the one of the credentials at hand."""
    region: str | None = None
    """The AWS region; None is the one of the credentials at hand."""
    cors_origins: tuple[str, ...] = ("*",)
    """The web origins whose pages may call the API. No cookie is ever read, so any origin is a safe default."""
    log_retention_days: RetentionDays = 14
    database_max_capacity_units: Annotated[float, Field(ge=1, le=256)] = 4
    """The most Aurora capacity units (2 GiB of memory each); the least is 0, a paused database."""

    @model_validator(mode="after")
    def _whole_pairs_only(self) -> "InstallationConfiguration":
        if (self.domain is None) != (self.certificate_arn is None):
            raise ValueError("domain and certificate_arn belong together")
        if (self.account is None) != (self.region is None):
            raise ValueError("account and region belong together")
        return self

    @property
    def is_local(self) -> bool:
        """Whether the embedded runtime deploys this, rather than CloudFormation."""
        return self.stage == LOCAL_STAGE
