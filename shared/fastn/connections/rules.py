"""What a credential must look like for its connector. Nothing here does I/O, and no secret is ever repeated."""

import json
from collections.abc import Mapping

from fastn.connections.models import ConnectionId
from fastn.connectors.arguments import check_values
from fastn.connectors.models import AuthMethod, AuthScheme, Connector
from fastn.errors import ValidationFailed


def credential_purpose(connection_id: ConnectionId) -> str:
    """What a connection's credential is encrypted for: moved to another connection, it does not open."""
    return f"connection-credential:{connection_id}"


def auth_scheme(connector: Connector, method: AuthMethod | None, secret: Mapping[str, str]) -> AuthScheme:
    """The way to authenticate that was named; else the only one whose fields these are.

    Raises ValidationFailed if the connector does not know the method, or none or several would fit.
    """
    if method is not None:
        if method not in connector.auth:
            raise _unclear(connector, f"{connector.slug} does not authenticate with {method}")
        return connector.auth[method]
    if len(connector.auth) == 1:
        return next(iter(connector.auth.values()))
    fitting = [scheme for scheme in connector.auth.values() if scheme.oauth is None and _fits(scheme, secret)]
    if len(fitting) != 1:
        raise _unclear(connector, "name the way to authenticate")
    return fitting[0]


def check_secret(scheme: AuthScheme, secret: Mapping[str, str]) -> dict[str, str]:
    """The credential's fields, as the auth method declares them. Raises ValidationFailed naming the fields."""
    checked = check_values(secret, scheme.fields, what="secret")
    # A default of a manifest may be any JSON; a credential is text.
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in checked.items()}


def check_config(connector: Connector, config: Mapping[str, object]) -> dict[str, object]:
    """The settings with the connector's defaults filled in. Raises ValidationFailed naming the settings."""
    return check_values(config, connector.config, what="config")


def _fits(scheme: AuthScheme, secret: Mapping[str, str]) -> bool:
    required = {name for name, parameter in scheme.fields.items() if parameter.is_required}
    return required <= secret.keys() <= scheme.fields.keys()


def _unclear(connector: Connector, problem: str) -> ValidationFailed:
    known = ", ".join(sorted(connector.auth))
    return ValidationFailed(f"authMethod: {problem}; one of {known}")
