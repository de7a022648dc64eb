"""A stand-in for Slack's Web API on loopback: it refuses what Slack refuses, and remembers every call.

Facts: https://docs.slack.dev/reference/methods/chat.postMessage (errors, 40,000 characters),
https://docs.slack.dev/apis/web-api/rate-limits (one message a second and channel; 429 with Retry-After),
https://docs.slack.dev/apis/web-api/pagination (cursor, limit). Run it by itself with
`python -m fastn.local.vendors.slack --port 8443 --latency-ms 5`; what it has seen is at `/_calls`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, cast
from urllib.parse import parse_qs

from fastn.local.vendors.loopback_server import LoopbackServer, VendorRequest, VendorResponse

LOCAL_TOKEN = "xoxb-local-1-fastn"  # noqa: S105  # opens nothing but this stand-in
_MAX_TEXT_CHARACTERS = 40_000
_MAX_LISTED = 1000
_SECONDS_BETWEEN_MESSAGES = 1.0


@dataclass(frozen=True, slots=True)
class SlackChannel:
    """A channel of the stand-in workspace."""

    id: str
    name: str
    is_archived: bool = False
    is_member: bool = True

    def as_json(self) -> dict[str, object]:
        """The channel as `conversations.list` shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "is_channel": True,
            "is_archived": self.is_archived,
            "is_private": False,
            "is_member": self.is_member,
        }


DEFAULT_CHANNELS = (
    SlackChannel("C0000000001", "general"),
    SlackChannel("C0000000002", "orders"),
    SlackChannel("C0000000003", "archive", is_archived=True),
    SlackChannel("C0000000004", "secret-plans", is_member=False),
)


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """How the stand-in behaves. `latency_ms` is added to each answer."""

    tokens: Sequence[str] = (LOCAL_TOKEN,)
    revoked_tokens: Sequence[str] = ()
    channels: Sequence[SlackChannel] = DEFAULT_CHANNELS
    latency_ms: float = 0.0
    limits_messages: bool = False


@dataclass(frozen=True, slots=True)
class SlackCall:
    """One call as it came; `error` is None if it was carried out. Times are Unix milliseconds."""

    method: str
    received_at_ms: float
    arguments: Mapping[str, object]
    error: str | None
    idempotency_key: str | None

    def as_json(self) -> dict[str, object]:
        """The call as `/_calls` shows it."""
        return {
            "method": self.method,
            "receivedAtMs": self.received_at_ms,
            "arguments": dict(self.arguments),
            "error": self.error,
            "idempotencyKey": self.idempotency_key,
        }


class _Refusal(Exception):
    """The call breaks one of Slack's rules; `code` is Slack's word for it."""

    def __init__(self, code: str, *, status: int = 200, retry_after_seconds: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.retry_after_seconds = retry_after_seconds


@dataclass(slots=True)
class _Record:
    calls: list[SlackCall] = field(default_factory=list[SlackCall])
    planned_failures: deque[_Refusal] = field(default_factory=deque[_Refusal])
    last_message_at: dict[str, float] = field(default_factory=dict[str, float])
    lock: threading.Lock = field(default_factory=threading.Lock)


class SlackVendor:
    """The stand-in, serving from entry to exit of its `with` block."""

    def __init__(
        self,
        settings: SlackSettings | None = None,
        *,
        port: int = 0,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings or SlackSettings()
        self._monotonic_seconds = monotonic_seconds
        self._record = _Record()
        self._sequence = itertools.count(1)
        self._server = LoopbackServer(self._answer, port=port)
        self._methods: dict[str, Callable[[Mapping[str, object]], dict[str, object]]] = {
            "chat.postMessage": self._post_message,
            "conversations.list": self._list_conversations,
            "auth.test": self._test_auth,
        }

    @property
    def port(self) -> int:
        """The loopback port it listens on."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.__exit__(*failure)

    def calls(self, method: str | None = None) -> list[SlackCall]:
        """Every call received so far, in order; of one method if it is given."""
        with self._record.lock:
            return [call for call in self._record.calls if method in (None, call.method)]

    def messages_by_key(self) -> Counter[str]:
        """How many messages were really posted under each idempotency key; more than one is a double effect."""
        posted = (call for call in self.calls("chat.postMessage") if call.error is None)
        return Counter(call.idempotency_key for call in posted if call.idempotency_key)

    def fail_next(self, *errors: str, status: int = 200, retry_after_seconds: int | None = None) -> None:
        """Answers the next calls with these errors, one each."""
        with self._record.lock:
            for error in errors:
                self._record.planned_failures.append(
                    _Refusal(error, status=status, retry_after_seconds=retry_after_seconds)
                )

    def forget(self) -> None:
        """Drops what it has recorded."""
        with self._record.lock:
            self._record.calls.clear()
            self._record.last_message_at.clear()

    def _answer(self, request: VendorRequest) -> VendorResponse:
        if request.path == "/_calls":
            return self._answer_inspection(request)
        if self._settings.latency_ms:
            time.sleep(self._settings.latency_ms / 1000)
        method = request.path.removeprefix("/api/")
        arguments: Mapping[str, object] = {}
        try:
            arguments = _arguments(request)
            response = VendorResponse.of_json({"ok": True, **self._carry_out(method, request, arguments)})
            error = None
        except _Refusal as refusal:
            response, error = _refusal_response(refusal), refusal.code
        self._note(SlackCall(method, request.received_at_ms, _without_token(arguments), error, _key(arguments)))
        return response

    def _carry_out(self, method: str, request: VendorRequest, arguments: Mapping[str, object]) -> dict[str, object]:
        carry_out = self._methods.get(method)
        if carry_out is None:
            raise _Refusal("unknown_method")
        self._authenticate(request, arguments)
        with self._record.lock:
            if self._record.planned_failures:
                raise self._record.planned_failures.popleft()
        return carry_out(arguments)

    def _authenticate(self, request: VendorRequest, arguments: Mapping[str, object]) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # A token is taken from the header or a form; never from JSON or the query.
        if scheme.lower() != "bearer":
            is_form = "urlencoded" in request.headers.get("content-type", "")
            token = str(arguments.get("token", "")) if is_form else ""
        if not token:
            raise _Refusal("not_authed")
        if token in self._settings.revoked_tokens:
            raise _Refusal("token_revoked")
        if token not in self._settings.tokens:
            raise _Refusal("invalid_auth")

    def _post_message(self, arguments: Mapping[str, object]) -> dict[str, object]:
        channel = self._writable_channel(str(arguments.get("channel") or ""))
        text = str(arguments.get("text") or "")
        if not text and not arguments.get("blocks") and not arguments.get("attachments"):
            raise _Refusal("no_text")
        if len(text) > _MAX_TEXT_CHARACTERS:
            raise _Refusal("msg_too_long")
        self._limit(channel)
        ts = f"{int(time.time())}.{next(self._sequence):06d}"
        message = {"type": "message", "text": text, "ts": ts, "bot_id": "B0000000001", "user": "U0000000001"}
        if arguments.get("thread_ts"):
            message["thread_ts"] = str(arguments["thread_ts"])
        return {"channel": channel.id, "ts": ts, "message": message}

    def _writable_channel(self, wanted: str) -> SlackChannel:
        name = wanted.removeprefix("#")
        channel = next((c for c in self._settings.channels if name and name in (c.id, c.name)), None)
        if channel is None:
            raise _Refusal("channel_not_found")
        if channel.is_archived:
            raise _Refusal("is_archived")
        if not channel.is_member:
            raise _Refusal("not_in_channel")
        return channel

    def _limit(self, channel: SlackChannel) -> None:
        if not self._settings.limits_messages:
            return
        now = self._monotonic_seconds()
        with self._record.lock:
            wait = self._record.last_message_at.get(channel.id, -math.inf) + _SECONDS_BETWEEN_MESSAGES - now
            if wait > 0:
                raise _Refusal("ratelimited", status=429, retry_after_seconds=max(1, math.ceil(wait)))
            self._record.last_message_at[channel.id] = now

    def _list_conversations(self, arguments: Mapping[str, object]) -> dict[str, object]:
        limit = _whole_number(arguments.get("limit", 100), "invalid_limit")
        if not 1 <= limit <= _MAX_LISTED:
            raise _Refusal("invalid_limit")
        cursor = str(arguments.get("cursor") or "")
        start = _whole_number(cursor.removeprefix("next-"), "invalid_cursor") if cursor else 0
        without_archived = str(arguments.get("exclude_archived", "")).lower() in ("true", "1")
        channels = [c for c in self._settings.channels if not (without_archived and c.is_archived)]
        if start > len(channels):
            raise _Refusal("invalid_cursor")
        next_cursor = f"next-{start + limit}" if start + limit < len(channels) else ""
        page = [channel.as_json() for channel in channels[start : start + limit]]
        return {"channels": page, "response_metadata": {"next_cursor": next_cursor}}

    def _test_auth(self, _: Mapping[str, object]) -> dict[str, object]:
        return {
            "url": "https://fastn-local.slack.com/",
            "team": "Fastn Local",
            "user": "fastn",
            "team_id": "T0000000001",
            "user_id": "U0000000001",
            "bot_id": "B0000000001",
        }

    def _note(self, call: SlackCall) -> None:
        with self._record.lock:
            self._record.calls.append(call)

    def _answer_inspection(self, request: VendorRequest) -> VendorResponse:
        if request.method == "DELETE":
            self.forget()
            return VendorResponse(204)
        first = request.query.get("from", "0")
        calls = self.calls()[int(first) if first.isdigit() else 0 :]
        return VendorResponse.of_json({"calls": [call.as_json() for call in calls]})


def _arguments(request: VendorRequest) -> Mapping[str, object]:
    if request.method == "GET":
        return request.query
    if request.method != "POST":
        raise _Refusal("invalid_post_type")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not request.body:
        return request.query
    if content_type == "application/json":
        return _json_arguments(request)
    if content_type == "application/x-www-form-urlencoded":
        fields = parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[-1] for name, values in fields.items()}
    raise _Refusal("invalid_post_type" if content_type else "missing_post_type")


def _json_arguments(request: VendorRequest) -> Mapping[str, object]:
    try:
        value = request.json()
    except ValueError as error:
        raise _Refusal("invalid_json") from error
    if not isinstance(value, dict):
        raise _Refusal("json_not_object")
    return cast(dict[str, object], value)


def _whole_number(value: object, error_code: str) -> int:
    text = str(value)
    if not text.isdigit():
        raise _Refusal(error_code)
    return int(text)


def _refusal_response(refusal: _Refusal) -> VendorResponse:
    headers = {} if refusal.retry_after_seconds is None else {"Retry-After": str(refusal.retry_after_seconds)}
    return VendorResponse.of_json({"ok": False, "error": refusal.code}, status=refusal.status, headers=headers)


def _without_token(arguments: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in arguments.items() if name != "token"}


def _key(arguments: Mapping[str, object]) -> str | None:
    if arguments.get("client_msg_id"):
        return str(arguments["client_msg_id"])
    metadata = arguments.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except ValueError:
            return None
    payload = _member(metadata, "event_payload")
    key = _member(payload, "idempotency_key")
    return None if key is None else str(key)


def _member(value: object, name: str) -> object:
    return cast(dict[str, object], value).get(name) if isinstance(value, dict) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until interrupted; prints its port as one line of JSON."""
    parser = argparse.ArgumentParser(description="A stand-in for Slack's Web API on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--limit-messages", action="store_true", help="one message a second and channel")
    parser.add_argument("--token", action="append", help="a token it accepts (repeatable)")
    options = parser.parse_args(arguments)
    settings = SlackSettings(
        tokens=tuple(options.token or (LOCAL_TOKEN,)),
        latency_ms=options.latency_ms,
        limits_messages=options.limit_messages,
    )
    with SlackVendor(settings, port=options.port) as vendor:
        print(json.dumps({"vendor": "slack", "port": vendor.port}), flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
