"""How flow names are spelt, what each tier allows, when a run is tried again, what identifies a source; all pure."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fastn.access.models import KeyMode
from fastn.engine.languages import Language
from fastn.errors import Forbidden, ValidationFailed
from fastn.platform.ids import parse_id
from fastn.tenants.models import DRAFT, PRODUCTION
from fastn.workflows.models import RetryPolicy, Tier

MAX_SLUG_LENGTH = 100

DEFAULT_SOURCE = """\
export default async function(ctx) {
  // ctx.input is the incoming payload, ctx.headers are the headers of the request that brought it.
  return { success: true, input: ctx.input };
}
"""

ROUTE_SEGMENTS = frozenset({
    "agent-builder", "ai", "api-access", "billing", "clients", "config", "connectors", "health", "mcp",
    "notifications", "organizations", "quota", "tenants",
})  # fmt: skip
"""The first segments of the API's routes: a flow of such a name could never be called."""

RESERVED_SLUGS = ROUTE_SEGMENTS | frozenset({
    "account", "accounts", "admin", "agents", "alerts", "api", "audit", "auth", "callback", "cdm", "connections",
    "credentials", "docs", "environments", "events", "executions", "fastn", "flows", "login", "logout", "me",
    "metrics", "oauth", "openapi", "plans", "public", "releases", "roles", "secrets", "settings", "spaces",
    "static", "status", "sync", "tokens", "tools", "traces", "triggers", "users", "webhooks", "widgets",
    "workflows",
})  # fmt: skip
"""Names no workflow may have: the API's own, and those it may grow into."""

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_NOT_IN_SLUG = re.compile(r"[^a-z0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeoutRange:
    """The time-outs a tier allows, in seconds, and the one it has unless told otherwise."""

    least_seconds: int
    most_seconds: int
    default_seconds: int


TIMEOUTS: Mapping[Tier, TimeoutRange] = MappingProxyType({
    Tier.INSTANT: TimeoutRange(1, 120, 60),
    Tier.STANDARD: TimeoutRange(5, 900, 900),
    Tier.LONG: TimeoutRange(30, 21_600, 21_600),
})  # fmt: skip


def slug_from_name(name: str) -> str:
    """A slug of the ASCII letters and digits in a name, at most 100 long; empty if the name has none."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return _NOT_IN_SLUG.sub("-", plain).strip("-")[:MAX_SLUG_LENGTH].rstrip("-")


def normalize_flow_name(name: str) -> str | None:
    """The slug this flow name means (underscores are hyphens, case counts); None if no slug can be."""
    slug = name.replace("_", "-")
    is_slug = len(slug) <= MAX_SLUG_LENGTH and _SLUG.fullmatch(slug) is not None
    return slug if is_slug else None


def choose_slug(given: str | None, name: str) -> str:
    """The given slug in its stored form, or one made from the name.

    Raises ValidationFailed if it is not a slug, is reserved, or reads as an id (ids and flow names share
    one place in a call).
    """
    slug = normalize_flow_name(given) if given is not None else slug_from_name(name)
    if slug is None:
        raise ValidationFailed(
            f"slug: use lower-case letters, digits and single hyphens, at most {MAX_SLUG_LENGTH} characters."
        )
    if not slug:
        raise ValidationFailed("slug: the name has no letter or digit to make a slug of; give one.")
    if slug in RESERVED_SLUGS or parse_id(slug) is not None:
        raise ValidationFailed(f"slug: {slug} is reserved; give another.", details={"slug": slug})
    return slug


def choose_timeout_seconds(tier: Tier, given: int | None) -> int:
    """The given time-out, or the tier's default. Raises ValidationFailed outside the tier's range."""
    allowed = TIMEOUTS[tier]
    if given is None:
        return allowed.default_seconds
    if not allowed.least_seconds <= given <= allowed.most_seconds:
        raise ValidationFailed(
            f"timeoutSeconds: the tier {tier} allows {allowed.least_seconds} to {allowed.most_seconds}.",
            details={"least": allowed.least_seconds, "most": allowed.most_seconds},
        )
    return given


def retry_delay_ms(policy: RetryPolicy, failed_attempts: int) -> int | None:
    """How long to wait after this many failed attempts (1 or more); None when no attempt is left.

    With the default policy 5 s, then 10 s, then none; unbounded attempts would go on to 20, 40, 60, 60 s.
    """
    if failed_attempts >= policy.max_attempts:
        return None
    delay = policy.initial_interval_ms * policy.backoff_coefficient ** (failed_attempts - 1)
    return round(min(delay, policy.max_interval_ms))


def hash_source(source: str, language: Language) -> bytes:
    """What a run pins: SHA-256 over the language, a line feed and the source.

    The language takes part because some texts are valid in both and mean different things: `f<a>(b)` is
    two comparisons in JavaScript and a call in TypeScript.
    """
    return hashlib.sha256(f"{language}\n{source}".encode()).digest()


def check_deployable(environment: str, mode: KeyMode) -> None:
    """Raises ValidationFailed for the draft environment, Forbidden for a Test key and production."""
    if environment.lower() == DRAFT:
        raise ValidationFailed("environment: DRAFT always runs the draft itself; nothing is deployed to it.")
    if environment == PRODUCTION and mode is KeyMode.TEST:
        raise Forbidden("A Test key cannot reach production: deploy to another environment.")
