"""Organizations, spaces and tenants as the platform knows them."""

from dataclasses import dataclass

from fastn.platform.ids import TenantId
from fastn.platform.scope import Scope

DEFAULT_TENANT = "default"
PRODUCTION = "production"
DRAFT = "draft"
FIRST_ENVIRONMENTS = ("development", "staging", PRODUCTION, DRAFT)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of a space; the default one owns what all of them share."""

    id: TenantId
    external_id: str
    name: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class FoundedSpace:
    """A new organization with its first space."""

    scope: Scope
    """Narrowed to the default tenant."""

    @property
    def space_scope(self) -> Scope:
        """The space as a whole: for keys that act for every customer, and for adding one."""
        return Scope(self.scope.organization_id, self.scope.space_id)
