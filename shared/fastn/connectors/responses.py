"""What an answer means: a value, or one of the four ways a vendor fails us."""

from __future__ import annotations

import base64
import email.utils
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from fastn.connectors.exchanges import masked_json
from fastn.connectors.models import Action, Connector, ErrorRules, RetryPolicy
from fastn.connectors.selectors import Subject
from fastn.connectors.templates import as_text
from fastn.errors import AuthExpired, DatasourceError, RateLimited, Rejected, Unavailable
from fastn.platform.egress import OutboundResponse
from fastn.secrets.rules import SecretMask

_MAX_MESSAGE_CHARACTERS = 300
_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)


def read_subject(response: OutboundResponse) -> Subject:
    """The answer as selectors see it. A body that is not JSON is text; one that is not text is `{"base64": …}`."""
    headers = {name.lower(): value for name, value in response.headers}
    return Subject(_read_body(response.body), headers, response.status)


def read_value(action: Action, subject: Subject) -> object:
    """What the action returns."""
    if action.gives_response:
        return {"status": subject.status, "headers": dict(subject.headers), "body": subject.body}
    return subject.body if action.output is None else action.output.select(subject)


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """Which call an answer belongs to; `secrets` are masked in whatever is told about it."""

    connector: Connector
    action: Action
    step: str | None
    secrets: SecretMask


def failure_in(call: AnsweredCall, subject: Subject, *, now: datetime) -> DatasourceError | None:
    """The error an answer amounts to; None if the call succeeded.

    `datasource_debug` is `{name, jsonObject}` with the vendor's own words, as the API reference shows it.
    """
    rules, retry = call.connector.http.error, call.connector.http.retry
    says_error = rules.when is not None and rules.when.holds(subject)
    if subject.status < 300 and not says_error:
        return None
    kind = _kind(rules, subject)
    message = f"{call.connector.name} {_VERDICTS[kind]}{_vendor_message(rules, subject)}"
    wait = retry_after_seconds(subject, retry, now) if kind in (RateLimited, Unavailable) else None
    return kind(
        call.secrets.mask(message),
        step=call.step,
        datasource_debug=_debug(call, subject),
        retry_after_seconds=wait,
    )


def retry_after_seconds(subject: Subject, retry: RetryPolicy, now: datetime) -> float | None:
    """How long the vendor asks us to wait; None if it does not say.

    RFC 9110 section 10.2.3: seconds or a date; some vendors name the Unix second instead.
    """
    text = subject.headers.get(retry.wait_header, "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until = subject.headers.get(retry.wait_until_header or "", "").strip()
    if not text and _SECONDS.fullmatch(until):
        return max(0.0, int(until) - now.timestamp())
    try:
        instant = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - now).total_seconds())


def _debug(call: AnsweredCall, subject: Subject) -> dict[str, object]:
    # jsonObject is always an object: a body that is none is put into one, with the status.
    body = subject.body
    told = cast(object, body) if isinstance(body, dict) else {"status": subject.status, "body": body}
    return {"name": call.action.name, "jsonObject": masked_json(told, call.secrets)}


_VERDICTS: Mapping[type[DatasourceError], str] = {
    AuthExpired: "refused the connection's credential",
    RateLimited: "asks us to slow down",
    Rejected: "refused the call",
    Unavailable: "failed on its side",
}


def _kind(rules: ErrorRules, subject: Subject) -> type[DatasourceError]:
    selected = rules.code.select(subject) if rules.code else None
    code = selected if isinstance(selected, str) else None
    if subject.status == 429 or code in rules.rate_limit_codes:
        return RateLimited
    if subject.status >= 400 and any(condition.holds(subject) for condition in rules.rate_limited_when):
        return RateLimited
    if subject.status == 401 or code in rules.auth_codes:
        return AuthExpired
    if subject.status >= 500 or subject.status == 408 or code in rules.unavailable_codes:
        return Unavailable
    return Rejected


def _vendor_message(rules: ErrorRules, subject: Subject) -> str:
    message = rules.message.select(subject) if rules.message else None
    if message in (None, ""):
        return f" (HTTP {subject.status})."
    return f": {as_text(message)[:_MAX_MESSAGE_CHARACTERS]}"


def _read_body(body: bytes) -> object:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode("ascii")}
