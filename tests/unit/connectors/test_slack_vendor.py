"""The stand-in for Slack refuses what Slack refuses."""

import json
import urllib.request
from collections.abc import Mapping
from urllib.error import HTTPError

import pytest

from fastn.local.vendors.slack import LOCAL_TOKEN, SlackSettings, SlackVendor

BEARER = {"Authorization": f"Bearer {LOCAL_TOKEN}"}
JSON = {"Content-Type": "application/json"}


def _post(vendor: SlackVendor, method: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{vendor.port}/api/{method}", data=body, headers=dict(headers), method="POST"
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.loads(response.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b'{"channel":"general","text":"x"}', JSON, "not_authed"),
        (b'{"channel":"general","text":"x"}', {**JSON, "Authorization": "Bearer no"}, "invalid_auth"),
        (b'{"channel":"general","text":"x","token":"%b"}' % LOCAL_TOKEN.encode(), JSON, "not_authed"),
        (b'{"channel":"nowhere","text":"x"}', {**JSON, **BEARER}, "channel_not_found"),
        (b'{"channel":"archive","text":"x"}', {**JSON, **BEARER}, "is_archived"),
        (b'{"channel":"secret-plans","text":"x"}', {**JSON, **BEARER}, "not_in_channel"),
        (b'{"channel":"general"}', {**JSON, **BEARER}, "no_text"),
        (b'{"channel":"general","text":"%b"}' % (b"x" * 40_001), {**JSON, **BEARER}, "msg_too_long"),
        (b"{", {**JSON, **BEARER}, "invalid_json"),
        (b"[]", {**JSON, **BEARER}, "json_not_object"),
        (b"x", {"Content-Type": "text/plain", **BEARER}, "invalid_post_type"),
    ],
)
def test_a_wrong_call_is_refused(body: bytes, headers: Mapping[str, str], error: str) -> None:
    with SlackVendor() as vendor:
        status, answer = _post(vendor, "chat.postMessage", body, headers)

        assert (status, answer) == (200, {"ok": False, "error": error})
        assert vendor.calls()[0].error == error


def test_a_form_with_a_token_is_taken() -> None:
    with SlackVendor() as vendor:
        body = f"token={LOCAL_TOKEN}&channel=general&text=x".encode()
        _, answer = _post(vendor, "chat.postMessage", body, {"Content-Type": "application/x-www-form-urlencoded"})

        assert answer["ok"] is True
        assert "token" not in vendor.calls()[0].arguments


def test_a_second_message_within_a_second_and_channel_is_limited() -> None:
    body = b'{"channel":"general","text":"x","client_msg_id":"k"}'
    with SlackVendor(SlackSettings(limits_messages=True), monotonic_seconds=lambda: 100.0) as vendor:
        first, _ = _post(vendor, "chat.postMessage", body, {**JSON, **BEARER})
        second, answer = _post(vendor, "chat.postMessage", body, {**JSON, **BEARER})

        assert (first, second, answer["error"]) == (200, 429, "ratelimited")
        assert vendor.messages_by_key() == {"k": 1}
