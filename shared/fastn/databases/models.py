"""Where a tenant's database lies, and how much one statement may take."""

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TenantDatabase:
    """One tenant's schema in one environment, and the role that owns it. The names tell nothing of the tenant."""

    schema_name: str
    role_name: str
    password: str = field(repr=False)
    is_provisioned: bool = False

    @classmethod
    def with_new_names(cls) -> "TenantDatabase":
        """A database that does not exist yet."""
        name = secrets.token_hex(16)
        return cls(f"s_{name}", f"t_{name}", secrets.token_urlsafe(32))


@dataclass(frozen=True, slots=True)
class StoredTenantDatabase:
    """The row that names a tenant's database; the password is encrypted with the tenant's data key."""

    schema_name: str
    role_name: str
    password_ciphertext: bytes
    is_provisioned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """What one statement may take."""

    seconds: float = 10.0
    rows: int = 10_000
    result_bytes: int = 4 * 1024 * 1024
    sql_characters: int = 20_000
    """The parser's C code recurses by the depth of the statement, which its length bounds: values are parameters."""
    parameters: int = 10_000
    parameter_bytes: int = 4 * 1024 * 1024


DEFAULT_LIMITS = QueryLimits()
