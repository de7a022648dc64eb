"""Authenticating a caller and issuing keys."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fastn.access import rules, store
from fastn.access.models import IssuedKey, KeyMode, PresentedKey, Principal, StoredKey
from fastn.errors import Unauthorized
from fastn.platform.clock import Clock
from fastn.platform.database import Database, Session
from fastn.platform.ids import new_id
from fastn.platform.scope import Scope

CREDENTIAL_CACHE_SECONDS = 60.0
CREDENTIAL_CACHE_SIZE = 1000

_REFUSED = "Missing or invalid API key. Send a valid key in the x-fastn-api-key header."


@dataclass(slots=True)
class Authenticator:
    """Recognises API keys. A stored key is remembered for 60 s, so a revocation takes that long at most.

    The secret is compared at every call, and an unknown id is never remembered.
    """

    database: Database
    clock: Clock
    _known: dict[object, tuple[float, StoredKey]] = field(default_factory=dict[object, tuple[float, StoredKey]])

    def authenticate(self, text: str | None) -> Principal:
        """The principal this key stands for. Raises Unauthorized for anything but a valid, live key."""
        presented = rules.parse_api_key(text) if text else None
        if presented is None:
            raise Unauthorized(_REFUSED)
        stored = self._stored(presented)
        if stored is None or not rules.opens(presented, stored):
            raise Unauthorized(_REFUSED)
        scope = Scope(stored.organization_id, stored.space_id, stored.tenant_id)
        return Principal(stored.id, stored.mode, scope, stored.permissions)

    def _stored(self, presented: PresentedKey) -> StoredKey | None:
        now = self.clock.monotonic_seconds()
        remembered = self._known.get(presented.id)
        if remembered is not None and now - remembered[0] < CREDENTIAL_CACHE_SECONDS:
            return remembered[1]
        with self.database.transaction(None) as session:
            stored = store.find_key_before_owner_is_known(session, presented.id)
        if stored is not None:
            if len(self._known) >= CREDENTIAL_CACHE_SIZE:
                self._known.clear()
            self._known[presented.id] = (now, stored)
        return stored


def issue_key(
    session: Session,
    scope: Scope,
    *,
    name: str,
    mode: KeyMode,
    permissions: Iterable[str],
    clock: Clock,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> IssuedKey:
    """A new key of this space (restricted to the scope's tenant, if it has one), stored by its hash only."""
    secret = rules.spell_secret(random_bytes(rules.SECRET_BYTES))
    now = clock.now()
    stored = StoredKey(
        id=new_id(now),
        organization_id=scope.organization_id,
        space_id=scope.space_id,
        tenant_id=scope.tenant_id,
        mode=mode,
        secret_sha256=rules.hash_secret(secret),
        permissions=frozenset(str(permission) for permission in permissions),
        revoked_at=None,
    )
    store.insert_key(session, stored, name=name, created_at=now)
    return IssuedKey(rules.spell_api_key(mode, stored.id, secret), stored)
