"""Performing one action of a connector: attempts, waits, pages, and what the trace is told."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, cast
from urllib.parse import parse_qsl, urlsplit

from fastn.connectors.exchanges import Exchange, redacted_exchange, secrets_of
from fastn.connectors.link_header import next_link
from fastn.connectors.models import Action, AuthMethod, Connector, Credential, Paging
from fastn.connectors.requests import PreparedRequest, prepare_request, with_idempotency_key, with_value
from fastn.connectors.responses import AnsweredCall, failure_in, read_subject, read_value
from fastn.connectors.selectors import Subject
from fastn.errors import DatasourceError, RateLimited, Rejected, Unavailable, ValidationFailed
from fastn.platform.clock import Clock
from fastn.platform.egress import OutboundLimits, OutboundRequest, OutboundResponse
from fastn.platform.egress_errors import NotSent

_FIRST_WAIT_SECONDS = 0.5
_MAX_WAIT_SECONDS = 30.0
_DEFAULT_MAX_ITEMS = 100
_MAX_MAX_ITEMS = 10_000
_MAX_PAGES = 100
_MAX_CURSOR_CHARACTERS = 4096


class HttpSender(Protocol):
    """What requests go out through: the guarded client, or something around it."""

    def send(self, request: OutboundRequest) -> OutboundResponse:
        """As `GuardedClient.send`."""
        ...


@dataclass(frozen=True, slots=True)
class ActionCall:
    """An action to perform for a connection.

    `deadline_seconds` is on the clock's monotonic scale: no attempt starts and no wait ends after it. `step`
    names the workflow's step in errors. `credential` None means the connector needs none.
    """

    connector: Connector
    action: str
    arguments: Mapping[str, object]
    credential: Credential | None = None
    config: Mapping[str, object] = field(default_factory=dict[str, object])
    idempotency_key: str | None = None
    step: str | None = None
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action returned: JSON, with the vendor's last status and what it took."""

    value: object
    status: int
    attempts: int
    duration_ms: float
    exchange: Exchange


@dataclass(frozen=True, slots=True)
class ActionFailure:
    """How an action failed. `status` and `exchange` are None if no request was sent or nothing came back."""

    error: DatasourceError
    status: int | None
    attempts: int
    duration_ms: float
    exchange: Exchange | None


def perform_action(
    call: ActionCall,
    http: HttpSender,
    *,
    clock: Clock,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> ActionResult:
    """The action's result.

    Raises ValidationFailed if the call does not fit the manifest (nothing is sent), else AuthExpired, RateLimited,
    Rejected or Unavailable, whose `datasource_debug` is `{name, jsonObject}`.
    """
    outcome = try_action(call, http, clock=clock, sleep=sleep, jitter=jitter)
    if isinstance(outcome, ActionFailure):
        raise outcome.error
    return outcome


def try_action(
    call: ActionCall,
    http: HttpSender,
    *,
    clock: Clock,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> ActionResult | ActionFailure:
    """The same, with a vendor's failure returned and not raised, so that its exchange can be traced too.

    A request is repeated only where that cannot carry it out twice: when it is repeatable, or certainly was
    not carried out (no connection, 429). Raises ValidationFailed as `perform_action` does.
    """
    return _Performance(call, http, clock, sleep, jitter).run()


class _Performance:
    """One action being performed. The waits are written here and not left to a retry library, because
    they follow the vendor's wish, the manifest and the caller's deadline at once."""

    def __init__(
        self,
        call: ActionCall,
        http: HttpSender,
        clock: Clock,
        sleep: Callable[[float], None],
        jitter: Callable[[], float],
    ) -> None:
        self._call = call
        self._http = http
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._action = _find_action(call.connector, call.action)
        self._credential = call.credential or Credential(AuthMethod.NONE)
        self._attempts = 0
        self._status: int | None = None
        self._last: tuple[PreparedRequest, OutboundResponse | None] | None = None

    def run(self) -> ActionResult | ActionFailure:
        started = self._clock.monotonic_seconds()
        arguments, pages = _without_paging_arguments(self._action, self._call.arguments)
        request = prepare_request(
            self._call.connector,
            self._action,
            arguments=arguments,
            credential=self._credential,
            config=self._call.config,
        )
        request = with_idempotency_key(request, self._action, self._call.idempotency_key)
        secrets = secrets_of(self._call.connector, self._credential, request)
        answered = AnsweredCall(self._call.connector, self._action, self._call.step, secrets)
        try:
            value = self._fetch_pages(request, pages, answered) if pages else self._fetch(request, answered)
        except DatasourceError as error:
            self._complete(error, answered)
            return ActionFailure(
                error, self._status, self._attempts, self._milliseconds_since(started), self._exchange(answered)
            )
        exchange = self._exchange(answered)
        assert exchange is not None
        assert self._status is not None
        return ActionResult(value, self._status, self._attempts, self._milliseconds_since(started), exchange)

    def _fetch(self, request: PreparedRequest, answered: AnsweredCall) -> object:
        return read_value(self._action, self._send(request, answered))

    def _fetch_pages(self, request: PreparedRequest, pages: _PageRequest, answered: AnsweredCall) -> dict[str, object]:
        items: list[object] = []
        cursor = pages.cursor
        for _ in range(_MAX_PAGES):
            page = _page_of(request, pages.paging, cursor, pages.max_items - len(items))
            subject = self._send(page, answered)
            found = read_value(self._action, subject)
            if not isinstance(found, list):
                raise Rejected(f"{self._call.connector.name} answered with something that is not a list.")
            items += cast(list[object], found)
            cursor = _next_cursor(pages.paging, subject)
            if cursor is None or len(items) >= pages.max_items:
                break
        return {"items": items, "nextCursor": cursor}

    def _send(self, request: PreparedRequest, answered: AnsweredCall) -> Subject:
        attempt = 0
        while True:
            attempt += 1
            failure, subject = self._attempt(request, answered)
            if failure is None and subject is not None:
                return subject
            assert failure is not None
            wait = self._wait_before_repeat(request, failure, attempt)
            if wait is None:
                raise failure
            self._sleep(wait)

    def _attempt(
        self, request: PreparedRequest, answered: AnsweredCall
    ) -> tuple[DatasourceError | None, Subject | None]:
        outbound = self._outbound(request)
        self._attempts += 1
        self._last, self._status = (request, None), None
        try:
            response = self._http.send(outbound)
        except DatasourceError as error:
            return error, None
        self._last, self._status = (request, response), response.status
        subject = read_subject(response)
        return failure_in(answered, subject, now=self._clock.now()), subject

    def _outbound(self, request: PreparedRequest) -> OutboundRequest:
        body, media_type = request.encoded_body()
        headers = dict(request.headers)
        if media_type is not None and "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = media_type
        limits = OutboundLimits()
        remaining = self._remaining_seconds()
        if remaining is not None:
            if remaining <= 0:
                raise Unavailable("The time for this call was up before it could be sent.")
            limits = replace(limits, total_timeout_seconds=min(limits.total_timeout_seconds, remaining))
        return OutboundRequest(
            request.method, request.full_url(), headers, body, request.credentials, request.allowed_hosts, limits
        )

    def _wait_before_repeat(self, request: PreparedRequest, failure: DatasourceError, attempt: int) -> float | None:
        policy = self._call.connector.http.retry
        if attempt >= policy.max_attempts or not self._is_worth_repeating(request, failure):
            return None
        growing = min(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1), _MAX_WAIT_SECONDS)
        wait = max(growing * (0.5 + self._jitter() / 2), failure.retry_after_seconds or 0.0)
        remaining = self._remaining_seconds()
        return wait if wait < (_MAX_WAIT_SECONDS if remaining is None else remaining) else None

    def _is_worth_repeating(self, request: PreparedRequest, failure: DatasourceError) -> bool:
        policy = self._call.connector.http.retry
        if isinstance(failure, RateLimited):
            return 429 in policy.statuses
        if isinstance(failure, NotSent):
            return policy.on_network
        if not request.is_repeatable:
            return False
        if self._status is None:
            return policy.on_network and isinstance(failure, Unavailable)
        if isinstance(failure, Unavailable):
            return policy.on_server_error or self._status in policy.statuses
        return self._status in policy.statuses

    def _remaining_seconds(self) -> float | None:
        deadline = self._call.deadline_seconds
        return None if deadline is None else deadline - self._clock.monotonic_seconds()

    def _milliseconds_since(self, started_seconds: float) -> float:
        return (self._clock.monotonic_seconds() - started_seconds) * 1000

    def _exchange(self, answered: AnsweredCall) -> Exchange | None:
        return None if self._last is None else redacted_exchange(*self._last, answered.secrets)

    def _complete(self, error: DatasourceError, answered: AnsweredCall) -> None:
        """Gives an error from below the connector the same form as the vendor's own."""
        error.message = answered.secrets.mask(error.message)
        error.step = self._call.step
        if error.datasource_debug is None:
            error.datasource_debug = {"name": self._action.name, "jsonObject": {"message": error.message}}


@dataclass(frozen=True, slots=True)
class _PageRequest:
    paging: Paging
    cursor: str | None
    max_items: int


def _find_action(connector: Connector, name: str) -> Action:
    action = connector.actions.get(name)
    if action is None:
        known = ", ".join(sorted(connector.actions))
        raise ValidationFailed(f"{connector.name} has no action '{name[:80]}'; it has {known}.")
    return action


def _without_paging_arguments(
    action: Action, arguments: Mapping[str, object]
) -> tuple[Mapping[str, object], _PageRequest | None]:
    if action.paging is None:
        return arguments, None
    rest = {name: value for name, value in arguments.items() if name not in ("cursor", "maxItems")}
    cursor, max_items = arguments.get("cursor"), arguments.get("maxItems")
    if cursor is not None and (not isinstance(cursor, str) or not 0 < len(cursor) <= _MAX_CURSOR_CHARACTERS):
        raise ValidationFailed("'cursor' must be a nextCursor of an earlier answer.")
    if max_items is None:
        max_items = _DEFAULT_MAX_ITEMS
    if not isinstance(max_items, int) or isinstance(max_items, bool) or not 1 <= max_items <= _MAX_MAX_ITEMS:
        raise ValidationFailed(f"'maxItems' must be a whole number from 1 to {_MAX_MAX_ITEMS}.")
    return rest, _PageRequest(action.paging, cursor, max_items)


def _page_of(request: PreparedRequest, paging: Paging, cursor: str | None, wanted: int) -> PreparedRequest:
    if cursor is not None and paging.cursor_into is None:
        # Only the query of a Link: its host and path stay those of the action, whatever the cursor says.
        return replace(request, query=dict(parse_qsl(cursor, keep_blank_values=True)))
    if paging.size_into is not None:
        request = with_value(request, paging.size_into, min(paging.max_size, wanted))
    if cursor is not None and paging.cursor_into is not None:
        request = with_value(request, paging.cursor_into, cursor)
    return request


def _next_cursor(paging: Paging, subject: Subject) -> str | None:
    if paging.more is not None and not paging.more.holds(subject):
        return None
    if paging.cursor is None:
        link = next_link(subject.headers.get("link", ""))
        return urlsplit(link).query or None if link else None
    cursor = paging.cursor.select(subject)
    return str(cursor) if cursor not in (None, "", False) else None
