"""A connector as the platform holds it: what a manifest says, checked and parsed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import NewType

from fastn.connectors.selectors import Condition, Selector
from fastn.connectors.signatures import SignatureScheme
from fastn.connectors.templates import Template, TemplateTree

ConnectorSlug = NewType("ConnectorSlug", str)

SLUG_PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)


def code_name(slug: str) -> str:
    """The slug in camelCase, as workflow code spells it: `hubspot-crm` is `hubspotCrm`."""
    first, *rest = slug.split("-")
    return first + "".join(word.capitalize() for word in rest)


class AuthMethod(StrEnum):
    """How a connection proves itself to the vendor."""

    OAUTH2 = "oauth2"
    API_KEY = "api_key"
    BASIC = "basic"
    BEARER = "bearer"
    CUSTOM = "custom"
    NONE = "none"


class ValueType(StrEnum):
    """The JSON type an argument, setting or credential field must have."""

    STRING = "string"
    SECRET = "secret"  # noqa: S105  # the name of a type
    INTEGER = "int"
    NUMBER = "number"
    BOOLEAN = "bool"
    OBJECT = "object"
    ARRAY = "array"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named value somebody must or may give. `default` None means there is none."""

    name: str
    type: ValueType
    is_required: bool = False
    default: object = None
    choices: tuple[object, ...] = ()
    pattern: re.Pattern[str] | None = None
    description: str = ""


Parameters = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an authentication's values go: header fields and query parameters, names and values templated."""

    headers: tuple[tuple[Template, Template], ...] = ()
    query: tuple[tuple[Template, Template], ...] = ()


@dataclass(frozen=True, slots=True)
class OAuthEndpoints:
    """The vendor's OAuth 2.0 addresses and habits (RFC 6749). `account` finds the account in a token answer."""

    authorize: Template
    token: Template
    scopes: tuple[str, ...]
    scope_separator: str
    uses_pkce: bool
    account: Selector | None


@dataclass(frozen=True, slots=True)
class AuthScheme:
    """One way to authenticate: the fields a credential holds and where they go."""

    method: AuthMethod
    fields: Parameters
    placement: Placement
    oauth: OAuthEndpoints | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failures are worth another attempt, and how many attempts there are in all.

    `wait_header` gives seconds or a date, `wait_until_header` the Unix second at which a limit is lifted.
    """

    statuses: frozenset[int] = frozenset()
    on_server_error: bool = False
    on_network: bool = False
    max_attempts: int = 1
    wait_header: str = "retry-after"
    wait_until_header: str | None = None


class Place(StrEnum):
    """A part of a request."""

    QUERY = auto()
    BODY = auto()
    HEADER = auto()


@dataclass(frozen=True, slots=True)
class Destination:
    """A named value of a request: `query.cursor`, `body.limit`, `header.Idempotency-Key`."""

    place: Place
    name: str


@dataclass(frozen=True, slots=True)
class Paging:
    """How a list goes on: a cursor to send back, or the Link header's `rel="next"` (RFC 8288) if `cursor` is None."""

    cursor: Selector | None
    cursor_into: Destination | None
    size_into: Destination | None
    max_size: int
    more: Condition | None = None


@dataclass(frozen=True, slots=True)
class ErrorRules:
    """How the vendor says no beyond the HTTP status. Codes are compared with what `code` selects."""

    when: Condition | None = None
    code: Selector | None = None
    message: Selector | None = None
    auth_codes: frozenset[str] = frozenset()
    rate_limit_codes: frozenset[str] = frozenset()
    unavailable_codes: frozenset[str] = frozenset()
    rate_limited_when: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What every action of a connector shares. `hosts` are the only ones credentials may go to."""

    base: Template
    hosts: tuple[Template, ...]
    headers: Mapping[str, Template] = field(default_factory=dict[str, Template])
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    error: ErrorRules = field(default_factory=ErrorRules)


class BodyEncoding(StrEnum):
    """How a body is written. AUTO: text as it is, anything else as JSON."""

    JSON = "json"
    FORM = "form"
    AUTO = "auto"


class IdempotencyFormat(StrEnum):
    """The shape a vendor wants a key in; a UUID is derived from the key (RFC 9562 version 5)."""

    TEXT = "text"
    UUID = "uuid"


@dataclass(frozen=True, slots=True)
class IdempotencyField:
    """Where the key goes; only a vendor that honours it makes a repeat safe."""

    into: Destination
    format: IdempotencyFormat
    is_honoured: bool


@dataclass(frozen=True, slots=True)
class Action:
    """One operation. `path` is below the base, or the whole URL when it is one reference.

    Arguments that no template refers to go into the query of GET, HEAD and DELETE, else into the body;
    `placed_arguments` are those that one does refer to.
    `is_idempotent` None means: as RFC 9110 section 9.2.2 has it for the method.
    """

    name: str
    method: Template
    path: Template
    parameters: Parameters
    description: str = ""
    docs: str = ""
    query: TemplateTree = None
    headers: TemplateTree = None
    body: TemplateTree = None
    encoding: BodyEncoding = BodyEncoding.JSON
    paging: Paging | None = None
    output: Selector | None = None
    gives_response: bool = False
    placed_arguments: frozenset[str] = frozenset()
    is_idempotent: bool | None = None
    idempotency: IdempotencyField | None = None


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """The action that proves a credential works, and what in its answer names the account."""

    action: str
    label: Selector | None


@dataclass(frozen=True, slots=True)
class Handshake:
    """The vendor's check of a webhook address: when it holds, answer with what `reply` selects."""

    when: Condition
    reply: Selector


@dataclass(frozen=True, slots=True)
class DeliveryRoute:
    """Where a delivery says what it is: its event, its id (for deduplication), whose account it concerns."""

    event: Selector | None = None
    delivery_id: Selector | None = None
    account: Selector | None = None


@dataclass(frozen=True, slots=True)
class Webhooks:
    """How the vendor's deliveries are recognised."""

    scheme: SignatureScheme
    route: DeliveryRoute
    handshake: Handshake | None = None


@dataclass(frozen=True, slots=True)
class Connector:
    """A vendor the platform can talk to."""

    slug: ConnectorSlug
    name: str
    description: str
    docs: str
    config: Parameters
    auth: Mapping[AuthMethod, AuthScheme]
    http: HttpSettings
    actions: Mapping[str, Action]
    test: ConnectionTest | None = None
    webhooks: Webhooks | None = None

    @property
    def code_name(self) -> str:
        """Its name in workflow code."""
        return code_name(self.slug)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a connection authenticates with; its field values are secrets and never shown."""

    method: AuthMethod
    fields: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
