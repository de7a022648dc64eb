"""On whose behalf work is done: the owner that every row and every key is bound to."""

import uuid
from dataclasses import dataclass, replace

from fastn.platform.ids import OrganizationId, SpaceId, TenantId


@dataclass(frozen=True, slots=True)
class Scope:
    """An organization and one of its spaces, and a tenant where the work is a customer's."""

    organization_id: OrganizationId
    space_id: SpaceId
    tenant_id: TenantId | None = None

    def for_tenant(self, tenant_id: TenantId) -> "Scope":
        """The same space, narrowed to one tenant."""
        return replace(self, tenant_id=tenant_id)

    def as_text(self) -> dict[str, str]:
        """The owner's ids as camelCase JSON members, for messages and logs."""
        text = {"organizationId": str(self.organization_id), "spaceId": str(self.space_id)}
        if self.tenant_id is not None:
            text["tenantId"] = str(self.tenant_id)
        return text

    @classmethod
    def from_text(cls, text: dict[str, str]) -> "Scope":
        """The scope that `as_text` wrote. Raises KeyError or ValueError if it did not."""
        tenant = text.get("tenantId")
        return cls(
            OrganizationId(uuid.UUID(text["organizationId"])),
            SpaceId(uuid.UUID(text["spaceId"])),
            TenantId(uuid.UUID(tenant)) if tenant else None,
        )
