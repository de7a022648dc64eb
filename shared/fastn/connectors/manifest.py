"""The manifest language, `fastn: connector/v1`: a vendor described in YAML, read into `Connector`.

The whole language is in README.md beside this file. A key it does not know is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastn.connectors.manifest_actions import read_action, read_parameters
from fastn.connectors.manifest_reader import Node, parse_yaml
from fastn.connectors.models import (
    SLUG_PATTERN,
    AuthMethod,
    AuthScheme,
    ConnectionTest,
    Connector,
    ConnectorSlug,
    DeliveryRoute,
    ErrorRules,
    Handshake,
    HttpSettings,
    OAuthEndpoints,
    Parameter,
    Parameters,
    Placement,
    RetryPolicy,
    ValueType,
    Webhooks,
)
from fastn.connectors.signatures import (
    SIGNED_NAMESPACES,
    SignatureAlgorithm,
    SignatureEncoding,
    SignatureScheme,
)
from fastn.connectors.templates import Template, parse_template
from fastn.platform.egress_errors import EgressRefused
from fastn.platform.egress_targets import parse_host_pattern, parse_target

LANGUAGE = "connector/v1"
_SHARED = frozenset(("config",))
_AUTHENTICATED = frozenset(("config", "cred"))
_MAX_ATTEMPTS = 10

_CREDENTIAL = frozenset(("cred",))
_BEARER = ("Authorization", "Bearer ${cred.access_token}")


def load_manifest(text: str, file: str) -> Connector:
    """The connector a YAML text describes. Raises ManifestInvalid naming `file`, the key and the reason."""
    return _read_connector(parse_yaml(text, file))


def parse_manifest(document: Mapping[str, object], file: str) -> Connector:
    """The same for a document that is already parsed, such as a stored definition. Raises ManifestInvalid."""
    return _read_connector(Node(file, "", document))


def _read_connector(root: Node) -> Connector:
    members = root.members(
        required=("fastn", "slug", "name", "auth", "http", "actions"),
        optional=("description", "docs", "config", "webhooks"),
    )
    if members["fastn"].text() != LANGUAGE:
        members["fastn"].fail(f"must be {LANGUAGE}")
    slug = members["slug"].text()
    if SLUG_PATTERN.fullmatch(slug) is None:
        members["slug"].fail("must be lower-case words joined by hyphens, beginning with a letter")
    config = read_parameters(members.get("config"))
    actions = {name: read_action(node, name) for name, node in members["actions"].entries().items()}
    http = members["http"]
    return Connector(
        slug=ConnectorSlug(slug),
        name=members["name"].text(),
        description=_optional_text(members.get("description")),
        docs=_optional_text(members.get("docs")),
        config=config,
        auth=dict(_read_auth(members["auth"])),
        http=_read_http(http, config),
        actions=actions,
        test=_read_test(http, actions),
        webhooks=_read_webhooks(members["webhooks"]) if "webhooks" in members else None,
    )


def _optional_text(node: Node | None) -> str:
    return "" if node is None else node.text()


# ── Authentication ──────────────────────────────────────────────────────────────────────────────


def _read_auth(node: Node) -> Iterable[tuple[AuthMethod, AuthScheme]]:
    entries = node.entries()
    if not entries:
        node.fail("names no method; write none: {} for a vendor that needs no credential")
    for name, member in entries.items():
        method = Node(node.file, member.key, name).one_of(AuthMethod)
        yield method, _read_scheme(method, member)


def _read_scheme(method: AuthMethod, node: Node) -> AuthScheme:
    if method is AuthMethod.NONE:
        node.members()
        return AuthScheme(method, {}, Placement())
    if method is AuthMethod.OAUTH2:
        return _read_oauth(node)
    if method is AuthMethod.BASIC:
        node.members()
        return AuthScheme(method, _secret_fields("username", "password"), Placement())
    members = node.members(required=("fields",), optional=("apply",))
    fields = read_parameters(members["fields"])
    if "apply" in members:
        return AuthScheme(method, fields, _read_placement(members["apply"], fields))
    if method is not AuthMethod.BEARER:
        node.fail("'apply' is missing: say where the fields go")
    return AuthScheme(method, fields, _bearer_placement(members["fields"], fields))


def _read_oauth(node: Node) -> AuthScheme:
    members = node.members(
        required=("authorize", "token", "scopes"), optional=("scope_separator", "pkce", "account", "apply")
    )
    fields = {
        "access_token": Parameter("access_token", ValueType.SECRET, is_required=True),
        "refresh_token": Parameter("refresh_token", ValueType.SECRET),
    }
    placement = _read_placement(members["apply"], fields) if "apply" in members else _bearer_placement(node, fields)
    endpoints = OAuthEndpoints(
        authorize=_https_template(members["authorize"]),
        token=_https_template(members["token"]),
        scopes=members["scopes"].texts(),
        scope_separator=_separator(members.get("scope_separator")),
        uses_pkce=members["pkce"].boolean() if "pkce" in members else True,
        account=members["account"].selector() if "account" in members else None,
    )
    return AuthScheme(AuthMethod.OAUTH2, fields, placement, endpoints)


def _separator(node: Node | None) -> str:
    # RFC 6749 section 3.3: scopes are separated by spaces; some vendors want commas.
    return " " if node is None else node.text()


def _https_template(node: Node) -> Template:
    if not node.text().startswith("https://"):
        node.fail("must begin with https://")
    return node.template(_SHARED)


def _secret_fields(user: str, secret: str) -> Parameters:
    return {
        user: Parameter(user, ValueType.STRING, is_required=True),
        secret: Parameter(secret, ValueType.SECRET, is_required=True),
    }


def _bearer_placement(node: Node, fields: Parameters) -> Placement:
    if "access_token" not in fields:
        node.fail("must have access_token, or say with 'apply' where its fields go")
    name, value = _BEARER
    return Placement(headers=((parse_template(name, ()), parse_template(value, _CREDENTIAL)),))


def _read_placement(node: Node, fields: Parameters) -> Placement:
    members = node.members(optional=("header", "query"))
    if not members:
        node.fail("places the credential nowhere")
    for member in members.values():
        for template in (pair for entry in _pairs(member) for pair in entry):
            for reference in template.references():
                if reference.namespace == "cred" and reference.name not in fields:
                    member.fail(f"refers to the field '{reference.name}', which is not declared")
    return Placement(
        headers=tuple(_pairs(members["header"])) if "header" in members else (),
        query=tuple(_pairs(members["query"])) if "query" in members else (),
    )


def _pairs(node: Node) -> Iterable[tuple[Template, Template]]:
    for name, member in node.entries().items():
        yield Node(node.file, member.key, name).template(_AUTHENTICATED), member.template(_AUTHENTICATED)


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────


def _read_http(node: Node, config: Parameters) -> HttpSettings:
    members = node.members(required=("base",), optional=("hosts", "headers", "retry", "error", "test"))
    base = _config_template(members["base"], config)
    hosts = _read_hosts(members.get("hosts"), members["base"], base, config)
    headers = members["headers"].entries() if "headers" in members else {}
    return HttpSettings(
        base=base,
        hosts=hosts,
        headers={name: _config_template(member, config) for name, member in headers.items()},
        retry=_read_retry(members["retry"]) if "retry" in members else RetryPolicy(),
        error=_read_error(members["error"]) if "error" in members else ErrorRules(),
    )


def _config_template(node: Node, config: Parameters) -> Template:
    template = node.template(_SHARED)
    for reference in template.references():
        if reference.name not in config:
            node.fail(f"refers to the setting '{reference.name}', which is not declared under config")
    return template


def _read_hosts(node: Node | None, base_node: Node, base: Template, config: Parameters) -> tuple[Template, ...]:
    if node is None:
        if base.literal is None:
            base_node.fail("depends on the connection's settings, so 'http.hosts' must name the hosts it may be")
        try:
            return (parse_template(parse_target(base.literal).host_header, ()),)
        except EgressRefused as error:
            base_node.fail(error.message)
    if isinstance(node.value, str):
        hosts = (_config_template(node, config),)
        if hosts[0].sole_reference is None:
            node.fail("must be a list of hosts, or one setting that holds such a list")
        return hosts
    return tuple(_read_host(item, config) for item in node.items())


def _read_host(node: Node, config: Parameters) -> Template:
    template = _config_template(node, config)
    if template.literal is not None:
        try:
            parse_host_pattern(template.literal)
        except EgressRefused as error:
            node.fail(error.message)
    return template


def _read_retry(node: Node) -> RetryPolicy:
    members = node.members(required=("if",), optional=("attempts", "wait_header", "wait_until_header"))
    statuses: set[int] = set()
    words: set[str] = set()
    for item in members["if"].items():
        if isinstance(item.value, int):
            statuses.add(item.integer(minimum=400, maximum=599))
        elif item.value in ("5xx", "network"):
            words.add(item.text())
        else:
            item.fail("must be a status, 5xx or network")
    attempts = members["attempts"].integer(minimum=1, maximum=_MAX_ATTEMPTS) if "attempts" in members else 3
    header = members["wait_header"].text().lower() if "wait_header" in members else "retry-after"
    return RetryPolicy(
        statuses=frozenset(statuses),
        on_server_error="5xx" in words,
        on_network="network" in words,
        max_attempts=attempts,
        wait_header=header,
        wait_until_header=_lower(members.get("wait_until_header")),
    )


def _read_error(node: Node) -> ErrorRules:
    lists = ("auth", "rate_limited", "unavailable")
    members = node.members(optional=("when", "code", "message", "rate_limited_when", *lists))
    codes = {name: frozenset(members[name].texts()) if name in members else frozenset[str]() for name in lists}
    message = members["message"].selector() if "message" in members else None
    conditions = members["rate_limited_when"].items() if "rate_limited_when" in members else []
    return ErrorRules(
        when=members["when"].condition() if "when" in members else None,
        code=members["code"].selector() if "code" in members else message,
        message=message,
        auth_codes=codes["auth"],
        rate_limit_codes=codes["rate_limited"],
        unavailable_codes=codes["unavailable"],
        rate_limited_when=tuple(condition.condition() for condition in conditions),
    )


def _read_test(http: Node, actions: Mapping[str, object]) -> ConnectionTest | None:
    node = http.entries().get("test")
    if node is None:
        return None
    members = node.members(required=("action",), optional=("label",))
    action = members["action"].text()
    if action not in actions:
        members["action"].fail(f"there is no action '{action}'")
    return ConnectionTest(action, members["label"].selector() if "label" in members else None)


# ── Webhooks ────────────────────────────────────────────────────────────────────────────────────


def _read_webhooks(node: Node) -> Webhooks:
    members = node.members(required=("verify",), optional=("handshake", "route"))
    route = _read_route(members["route"]) if "route" in members else DeliveryRoute()
    handshake = None
    if "handshake" in members:
        parts = members["handshake"].members(required=("when", "reply"))
        handshake = Handshake(parts["when"].condition(), parts["reply"].selector())
    return Webhooks(_read_scheme_of_signature(members["verify"], route), route, handshake)


def _read_route(node: Node) -> DeliveryRoute:
    members = node.members(optional=("event", "id", "account"))
    selectors = {name: member.selector() for name, member in members.items()}
    return DeliveryRoute(selectors.get("event"), selectors.get("id"), selectors.get("account"))


def _read_scheme_of_signature(node: Node, route: DeliveryRoute) -> SignatureScheme:
    members = node.members(
        required=("algorithm", "header"),
        optional=("encoding", "prefix", "signed", "timestamp_header", "tolerance_seconds"),
    )
    signed = members["signed"] if "signed" in members else node.child("signed", "${body}")
    scheme = SignatureScheme(
        header=members["header"].text().lower(),
        signed=signed.template(SIGNED_NAMESPACES),
        encoding=members["encoding"].one_of(SignatureEncoding) if "encoding" in members else SignatureEncoding.HEX,
        prefix=_optional_text(members.get("prefix")),
        algorithm=members["algorithm"].one_of(SignatureAlgorithm),
        timestamp_header=_lower(members.get("timestamp_header")),
        tolerance_seconds=_tolerance(members),
        delivery_id_header=route.delivery_id.header if route.delivery_id else None,
        event_header=route.event.header if route.event else None,
    )
    _check_signed(signed, scheme)
    return scheme


def _lower(node: Node | None) -> str | None:
    return None if node is None else node.text().lower()


def _tolerance(members: Mapping[str, Node]) -> int | None:
    has_time = "timestamp_header" in members
    if has_time != ("tolerance_seconds" in members):
        name = "timestamp_header" if has_time else "tolerance_seconds"
        members[name].fail("timestamp_header and tolerance_seconds only mean something together")
    return members["tolerance_seconds"].integer(minimum=1, maximum=3600) if has_time else None


def _check_signed(node: Node, scheme: SignatureScheme) -> None:
    references = list(scheme.signed.references())
    if not any(reference.namespace == "body" for reference in references):
        node.fail("must contain ${body}: a signature over less could be put on another body")
    signed_headers = {(reference.name or "").lower() for reference in references if reference.namespace == "header"}
    signs_time = any(reference.namespace == "timestamp" for reference in references)
    if scheme.timestamp_header and not signs_time and scheme.timestamp_header not in signed_headers:
        node.fail("must contain the timestamp: an unsigned one proves nothing")
    if signs_time and scheme.timestamp_header is None:
        node.fail("refers to the timestamp, but timestamp_header is not given")
