"""What a credential must look like for its connector."""

import uuid
from collections.abc import Mapping
from dataclasses import replace

import pytest

from fastn.connections.models import Connection, ConnectionForCall, ConnectionId, ConnectionStatus
from fastn.connections.rules import auth_scheme, check_config, check_secret, credential_purpose
from fastn.connectors.models import (
    AuthMethod,
    AuthScheme,
    Connector,
    ConnectorSlug,
    HttpSettings,
    OAuthEndpoints,
    Parameter,
    Placement,
    ValueType,
)
from fastn.connectors.templates import parse_template
from fastn.errors import ValidationFailed
from fastn.platform.clock import FrozenClock
from fastn.platform.ids import OrganizationId, SpaceId, TenantId
from fastn.platform.scope import Scope

TEXT = parse_template("https://vendor.example", ())


def scheme(method: AuthMethod, *fields: Parameter, oauth: bool = False) -> AuthScheme:
    endpoints = OAuthEndpoints(TEXT, TEXT, (), " ", uses_pkce=True, account=None) if oauth else None
    return AuthScheme(method, {field.name: field for field in fields}, Placement(), endpoints)


def secret_field(name: str, *, is_required: bool = True) -> Parameter:
    return Parameter(name, ValueType.SECRET, is_required)


CONNECTOR = Connector(
    slug=ConnectorSlug("vendor"),
    name="Vendor",
    description="",
    docs="",
    config={
        "shop": Parameter("shop", ValueType.STRING, is_required=True),
        "size": Parameter("size", ValueType.JSON, default=10),
    },
    auth={
        known.method: known
        for known in (
            scheme(AuthMethod.OAUTH2, secret_field("access_token"), oauth=True),
            scheme(AuthMethod.BEARER, secret_field("access_token")),
            scheme(AuthMethod.BASIC, secret_field("username"), secret_field("password", is_required=False)),
            scheme(AuthMethod.NONE),
        )
    },
    http=HttpSettings(TEXT, ()),
    actions={},
)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ({"access_token": "t"}, AuthMethod.BEARER),
        ({"username": "u"}, AuthMethod.BASIC),
        ({"username": "u", "password": "p"}, AuthMethod.BASIC),
        ({}, AuthMethod.NONE),
    ],
)
def test_method_left_out_is_the_one_whose_fields_were_given(secret: Mapping[str, str], expected: AuthMethod) -> None:
    assert auth_scheme(CONNECTOR, None, secret).method is expected


def test_named_method_is_taken() -> None:
    assert auth_scheme(CONNECTOR, AuthMethod.OAUTH2, {}).method is AuthMethod.OAUTH2


def test_method_the_connector_lacks_is_refused_naming_those_it_has() -> None:
    with pytest.raises(ValidationFailed, match="basic, bearer, none, oauth2"):
        auth_scheme(CONNECTOR, AuthMethod.CUSTOM, {})


def test_fields_that_fit_no_method_ask_for_its_name() -> None:
    with pytest.raises(ValidationFailed, match="authMethod"):
        auth_scheme(CONNECTOR, None, {"unknown": "x"})


def test_only_method_needs_no_name() -> None:
    single = replace(CONNECTOR, auth={AuthMethod.BASIC: CONNECTOR.auth[AuthMethod.BASIC]})

    assert auth_scheme(single, None, {"unknown": "x"}).method is AuthMethod.BASIC


@pytest.mark.parametrize("secret", [{}, {"access_token": "planted", "more": "planted"}, {"accessToken": "planted"}])
def test_wrong_fields_are_refused_without_repeating_a_value(secret: Mapping[str, str]) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_secret(CONNECTOR.auth[AuthMethod.BEARER], secret)

    assert "planted" not in f"{refused.value.message} {refused.value.details}"


def test_settings_get_their_defaults() -> None:
    assert check_config(CONNECTOR, {"shop": "acme"}) == {"shop": "acme", "size": 10}


@pytest.mark.parametrize("config", [{}, {"shop": 1}, {"shop": "acme", "unknown": 1}])
def test_settings_that_cannot_be_understood_are_refused(config: Mapping[str, object]) -> None:
    with pytest.raises(ValidationFailed, match="config"):
        check_config(CONNECTOR, config)


def test_purpose_names_the_connection() -> None:
    one, other = ConnectionId(uuid.UUID(int=1)), ConnectionId(uuid.UUID(int=2))

    assert credential_purpose(one) != credential_purpose(other)


def test_neither_secret_nor_ciphertext_shows_in_a_representation() -> None:
    now = FrozenClock().now()
    scope = Scope(OrganizationId(uuid.UUID(int=1)), SpaceId(uuid.UUID(int=2)), TenantId(uuid.UUID(int=3)))
    stored = Connection(
        id=ConnectionId(uuid.UUID(int=1)),
        scope=scope,
        environment="production",
        connector="vendor",
        name="default",
        auth_method=AuthMethod.BEARER,
        config={},
        credential_ciphertext=b"planted",
        credential_version=1,
        status=ConnectionStatus.ACTIVE,
        created_at=now,
        updated_at=now,
    )
    for_call = ConnectionForCall(stored.id, AuthMethod.BEARER, {}, {"access_token": "planted"}, 1)

    assert "planted" not in f"{stored!r} {for_call!r} {for_call.authentication()!r}"
    assert for_call.authentication().fields == {"access_token": "planted"}
