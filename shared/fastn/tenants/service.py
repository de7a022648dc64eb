"""Founding organizations, adding customers, and finding the customer a caller names."""

from fastn.errors import NotFound
from fastn.platform.clock import Clock
from fastn.platform.database import Database
from fastn.platform.ids import OrganizationId, SpaceId, TenantId, new_id, parse_id
from fastn.platform.scope import Scope
from fastn.tenants import store
from fastn.tenants.models import DEFAULT_TENANT, FIRST_ENVIRONMENTS, FoundedSpace, Tenant


def resolve_tenant(database: Database, scope: Scope, reference: str | None) -> Tenant:
    """The tenant of the scope's space that a UUID or external id names; the default one for None.

    Raises NotFound if there is none, and, where the scope is narrowed to a tenant, for every other one:
    a sibling customer looks exactly like a missing one.
    """
    tenant_id = parse_id(reference) if reference else None
    external_id = None if tenant_id else (reference or DEFAULT_TENANT)
    if reference is None and scope.tenant_id is not None:
        tenant_id, external_id = scope.tenant_id, None
    with database.transaction(scope) as session:
        tenant = store.find_tenant(session, tenant_id=tenant_id, external_id=external_id)
    if tenant is None:
        raise NotFound
    return tenant


def found_organization(database: Database, *, name: str, clock: Clock) -> FoundedSpace:
    """A new organization with a first space, its default tenant and its environments, in one transaction."""
    now = clock.now()
    scope = Scope(OrganizationId(new_id(now)), SpaceId(new_id(now)))
    tenant = Tenant(TenantId(new_id(now)), DEFAULT_TENANT, name, is_default=True)
    with database.transaction(scope) as session:
        store.insert_organization(session, scope, name=name, created_at=now)
        store.insert_space(session, scope, name=name, created_at=now)
        store.insert_tenant(session, scope, tenant, created_at=now)
        for environment in FIRST_ENVIRONMENTS:
            store.insert_environment(session, scope, name=environment, created_at=now)
    return FoundedSpace(scope.for_tenant(tenant.id))


def add_tenant(database: Database, scope: Scope, *, external_id: str, name: str, clock: Clock) -> Tenant:
    """A new customer of the scope's space."""
    now = clock.now()
    tenant = Tenant(TenantId(new_id(now)), external_id, name, is_default=False)
    with database.transaction(scope) as session:
        store.insert_tenant(session, scope, tenant, created_at=now)
    return tenant
