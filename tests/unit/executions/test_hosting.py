"""The host masks what its credentials are, whatever they look like."""

import json
import uuid
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.connections.models import ConnectionForCall, ConnectionId
from fastn.connectors.catalog import ConnectorCatalog
from fastn.connectors.models import AuthMethod
from fastn.errors import ValidationFailed
from fastn.executions.hosting import ConnectorHost
from fastn.executions.masking import UsedSecrets
from fastn.executions.models import RunnableExecution
from fastn.local.vendors.loopback_server import LoopbackServer, VendorRequest, VendorResponse
from fastn.platform.clock import FrozenClock, SystemClock
from fastn.platform.egress import GuardedClient

CATALOG = ConnectorCatalog()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def host_with(secret: str, http: GuardedClient | None = None) -> ConnectorHost:
    """A host whose one connection has this token."""

    def find_connection(_run: RunnableExecution, _slug: str, _name: str) -> ConnectionForCall:
        fields = {"access_token": secret}
        return ConnectionForCall(ConnectionId(uuid.uuid4()), AuthMethod.BEARER, {}, fields, 1)

    return ConnectorHost(
        execution=None,  # type: ignore[arg-type]  # only its finder would look at it
        catalog=CATALOG,
        find_connection=find_connection,
        http=http or GuardedClient(FrozenClock()),
        clock=SystemClock(),
    )


def used(secret: str) -> UsedSecrets:
    """What the host knows after it opened the connection, for a call that nothing was sent for."""
    host = host_with(secret)
    with pytest.raises(ValidationFailed):
        host.perform("connector.slack.nothing", '{"args": {}}', "key")
    return host.used_secrets


@given(st.text(min_size=4, max_size=12), json_values, st.integers(0, 3))
def test_masked_json_is_json_without_the_secret_whatever_the_secret(secret: str, value: Any, place: int) -> None:
    carrying: Any = [value, {"in": f"<{secret}>"}, {secret: value}, json.dumps({"quoted": secret})][place]

    masked = used(secret).masked_json(json.dumps(carrying))

    texts = list(_texts(json.loads(masked)))
    if "•" not in secret:
        assert not any(secret in text for text in texts)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        members = cast("dict[str, object]", value).items()
        return [text for name, member in members for text in (name, *_texts(member))]
    return (
        [text for element in cast("list[object]", value) for text in _texts(element)] if isinstance(value, list) else []
    )


@pytest.mark.parametrize("secret", ["12345678", "1.25", "true", "null", "{}{}", '"x"y', "a\\b\\c"])
def test_secret_that_looks_like_json_is_masked_and_breaks_nothing(secret: str) -> None:
    text = json.dumps({"id": 12345678, "ratio": 1.25, "yes": True, "no": None, "said": f"it is {secret}"})

    masked = json.loads(used(secret).masked_json(text))

    assert secret not in masked["said"]
    assert (masked["yes"], masked["no"]) == (True, None)
    assert masked["id"] == ("••••" if secret == "12345678" else 12345678)


@given(json_values)
def test_text_without_a_secret_is_left_as_it_is(value: Any) -> None:
    text = json.dumps(value, indent=2)

    assert used("planted-7f3a9").masked_json(text) == text


def test_number_that_json_cannot_say_reaches_the_program_as_null() -> None:
    def answer(_request: VendorRequest) -> VendorResponse:
        body = b'{"ok": true, "big": 1e400, "list": [NaN, 1.5]}'
        return VendorResponse(200, body, {"Content-Type": "application/json"})

    with LoopbackServer(answer) as vendor:
        http = GuardedClient(SystemClock(), loopback_routes={"slack.com": vendor.port})
        performed = host_with("planted-token", http).perform(
            "connector.slack.postMessage", '{"args": {"channel": "C1", "text": "x"}}', "k" * 64
        )
        http.close()

    assert json.loads(performed.result_json) == {"ok": True, "big": None, "list": [None, 1.5]}
    assert performed.exchange_json is not None
    json.loads(performed.exchange_json)
