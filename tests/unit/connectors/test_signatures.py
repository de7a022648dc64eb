"""Signature checks: known answers of the vendors' schemes, and everything that must be refused."""

from datetime import UTC, datetime

import pytest

from fastn.connectors.catalog import ConnectorCatalog
from fastn.connectors.signatures import (
    FASTN_SCHEME,
    SignatureFailure,
    SignatureScheme,
    sign,
    verify_signature,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRET = b"a secret"
BODY = '{"a": "é"}'.encode()


def _headers(*, stamp: str = STAMP, body: bytes = BODY) -> dict[str, str]:
    unsigned = {"X-Fastn-Timestamp": stamp, "X-Fastn-Delivery-Id": "d-1"}
    return {**unsigned, "X-Fastn-Signature": sign(FASTN_SCHEME, SECRET, headers=unsigned, raw_body=body)}


def _scheme(slug: str) -> SignatureScheme:
    webhooks = ConnectorCatalog().load_connector(slug).webhooks
    assert webhooks is not None
    return webhooks.scheme


def _failure(headers: dict[str, str], *, secret: bytes | None = SECRET, body: bytes = BODY) -> object:
    return verify_signature(FASTN_SCHEME, secret, headers=headers, raw_body=body, now=NOW).failure


def test_a_genuine_delivery_is_accepted_with_its_id_and_time() -> None:
    check = verify_signature(FASTN_SCHEME, SECRET, headers=_headers(), raw_body=BODY, now=NOW)

    assert (check.is_accepted, check.delivery_id, check.signed_at) == (True, "d-1", int(STAMP))


def test_githubs_published_example_is_accepted() -> None:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"X-Hub-Signature-256": signature, "X-GitHub-Event": "push", "X-GitHub-Delivery": "g-1"}

    check = verify_signature(
        _scheme("github"), b"It's a Secret to Everybody", headers=headers, raw_body=b"Hello, World!", now=NOW
    )

    assert (check.is_accepted, check.event, check.delivery_id) == (True, "push", "g-1")


def test_slacks_published_example_is_accepted() -> None:
    # https://docs.slack.dev/authentication/verifying-requests-from-slack
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F"
        b"96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "X-Slack-Request-Timestamp": "1531420618",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    sent_at = datetime.fromtimestamp(1531420618, UTC)

    check = verify_signature(
        _scheme("slack"), b"8f742231b10e8888abcd99yyyzzz85a5", headers=headers, raw_body=body, now=sent_at
    )

    assert check.failure is None


@pytest.mark.parametrize("secret", [None, b""])
def test_without_a_secret_nothing_is_accepted(secret: bytes | None) -> None:
    assert _failure(_headers(), secret=secret) is SignatureFailure.SECRET_MISSING


@pytest.mark.parametrize(
    ("dropped", "failure"),
    [
        ("X-Fastn-Signature", SignatureFailure.SIGNATURE_MISSING),
        ("X-Fastn-Timestamp", SignatureFailure.TIMESTAMP_MISSING),
    ],
)
def test_a_delivery_that_lacks_a_header_is_refused(dropped: str, failure: SignatureFailure) -> None:
    headers = {name: value for name, value in _headers().items() if name != dropped}

    assert _failure(headers) is failure


@pytest.mark.parametrize(("offset", "accepted"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_timestamp_is_fresh_for_300_seconds_either_way(offset: int, accepted: bool) -> None:
    headers = _headers(stamp=str(int(STAMP) + offset))

    assert (_failure(headers) is None) is accepted


@pytest.mark.parametrize("stamp", ["", "now", "1e9", "-1", "١٢٣", "9" * 40])
def test_a_timestamp_that_is_no_number_is_refused(stamp: str) -> None:
    assert _failure({**_headers(), "X-Fastn-Timestamp": stamp}) is SignatureFailure.TIMESTAMP_MISSING


def test_another_timestamp_or_body_than_the_signed_one_is_refused() -> None:
    assert _failure({**_headers(), "X-Fastn-Timestamp": str(int(STAMP) + 1)}) is SignatureFailure.SIGNATURE_WRONG
    assert _failure(_headers(), body=BODY + b" ") is SignatureFailure.SIGNATURE_WRONG


@pytest.mark.parametrize(
    "signature", ["", "sha256=", "sha256=zz", "é", "sha256=é", "\ud800", "sha1=" + "0" * 64, "0" * 64, "," * 50]
)
def test_a_malformed_signature_is_refused_and_never_raises(signature: str) -> None:
    assert _failure({**_headers(), "X-Fastn-Signature": signature}) is SignatureFailure.SIGNATURE_WRONG


def test_one_right_signature_among_several_is_enough() -> None:
    headers = _headers()
    right = headers["X-Fastn-Signature"]

    assert _failure({**headers, "X-Fastn-Signature": f"sha256={'0' * 64}, {right}"}) is None


def test_the_time_is_judged_only_after_the_signature() -> None:
    headers = {**_headers(stamp=str(int(STAMP) - 999)), "X-Fastn-Signature": "sha256=" + "0" * 64}

    assert _failure(headers) is SignatureFailure.SIGNATURE_WRONG
