"""Actions performed against stand-in vendors: what is sent, repeated, returned and told."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import pytest

from fastn.connectors.calls import ActionCall, ActionResult
from fastn.connectors.catalog import ConnectorCatalog
from fastn.connectors.models import AuthMethod, Credential
from fastn.errors import AuthExpired, DatasourceError, RateLimited, Rejected, Unavailable, ValidationFailed
from fastn.local.vendors.loopback_server import VendorResponse
from fastn.local.vendors.slack import LOCAL_TOKEN, SlackVendor
from fastn.platform.clock import FrozenClock
from fastn.platform.egress_errors import EgressRefused
from tests.fakes.github import GITHUB_TOKEN, GitHubVendor
from tests.fakes.http_target import HttpTarget

Perform = Callable[[ActionCall], ActionResult]
SLACK = Credential(AuthMethod.BEARER, {"access_token": LOCAL_TOKEN})
GITHUB = Credential(AuthMethod.BEARER, {"access_token": GITHUB_TOKEN})
HELLO: Mapping[str, object] = {"channel": "general", "text": "hello"}
SHOP: Mapping[str, object] = {"owner": "acme", "repo": "shop"}


def _slack(action: str, arguments: Mapping[str, object], **more: object) -> ActionCall:
    return ActionCall(ConnectorCatalog().load_connector("slack"), action, arguments, SLACK, **more)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a test's shorthand


def _github(action: str, arguments: Mapping[str, object]) -> ActionCall:
    return ActionCall(ConnectorCatalog().load_connector("github"), action, arguments, GITHUB)


def _http(
    action: str, arguments: Mapping[str, object], credential: Credential | None = None, *hosts: str
) -> ActionCall:
    config = {"baseUrl": "https://api.example/v1", "hosts": list(hosts or ("api.example",))}
    return ActionCall(ConnectorCatalog().load_connector("http"), action, arguments, credential, config)


@dataclass(frozen=True)
class Page:
    """What a paged action returned."""

    items: list[dict[str, object]]
    next_cursor: object


def _page(result: ActionResult) -> Page:
    value = cast(dict[str, object], result.value)
    return Page(cast(list[dict[str, object]], value["items"]), value["nextCursor"])


def _failure(perform: Perform, call: ActionCall) -> DatasourceError:
    with pytest.raises(DatasourceError) as raised:
        perform(call)
    return raised.value


# ── Slack ───────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_posted_with_a_key_that_is_the_same_every_time(
    perform: Perform, slack_vendor: SlackVendor
) -> None:
    first = perform(_slack("postMessage", HELLO, idempotency_key="execution-1"))
    perform(_slack("postMessage", HELLO, idempotency_key="execution-1"))

    posted = slack_vendor.calls("chat.postMessage")
    assert isinstance(first.value, dict)
    assert (first.status, first.attempts) == (200, 1)
    assert [call.arguments["text"] for call in posted] == ["hello", "hello"]
    assert posted[0].idempotency_key == posted[1].idempotency_key is not None


def test_a_refusal_inside_a_200_is_rejected_with_the_vendors_words(perform: Perform) -> None:
    error = _failure(perform, _slack("postMessage", {**HELLO, "channel": "nowhere"}, step="sendMessageApi"))

    assert type(error) is Rejected
    assert error.step == "sendMessageApi"
    assert error.datasource_debug == {
        "name": "postMessage",
        "jsonObject": {"ok": False, "error": "channel_not_found"},
    }


def test_a_refused_token_is_auth_expired(perform: Perform) -> None:
    call = _slack("authTest", {})
    wrong = ActionCall(call.connector, call.action, {}, Credential(AuthMethod.BEARER, {"access_token": "xoxb-no"}))

    assert type(_failure(perform, wrong)) is AuthExpired


def test_a_rate_limit_is_waited_out_as_the_vendor_asks_even_where_a_repeat_is_unsafe(
    perform: Perform, slack_vendor: SlackVendor, sleeps: list[float]
) -> None:
    slack_vendor.fail_next("ratelimited", status=429, retry_after_seconds=7)

    result = perform(_slack("postMessage", HELLO))

    assert (result.attempts, sleeps) == (2, [7.0])


def test_a_wait_beyond_the_deadline_is_not_begun(
    perform: Perform, slack_vendor: SlackVendor, sleeps: list[float], clock: FrozenClock
) -> None:
    slack_vendor.fail_next("ratelimited", status=429, retry_after_seconds=7)

    error = _failure(perform, _slack("postMessage", HELLO, deadline_seconds=clock.monotonic_seconds() + 6))

    assert type(error) is RateLimited
    assert (error.retry_after_seconds, sleeps) == (7.0, [])


def test_a_message_that_may_have_been_posted_is_not_posted_again(perform: Perform, slack_vendor: SlackVendor) -> None:
    slack_vendor.fail_next("internal_error", status=500)

    error = _failure(perform, _slack("postMessage", HELLO))

    assert type(error) is Unavailable
    assert len(slack_vendor.calls("chat.postMessage")) == 1


def test_a_repeatable_call_is_repeated_until_its_attempts_are_used_up(
    perform: Perform, slack_vendor: SlackVendor, sleeps: list[float]
) -> None:
    slack_vendor.fail_next(*["internal_error"] * 9, status=503)

    error = _failure(perform, _slack("authTest", {}))

    assert type(error) is Unavailable
    assert sleeps == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    "arguments", [{}, {"text": "x"}, {**HELLO, "unknown": 1}, {"channel": 5}, {**HELLO, "mrkdwn": 1}]
)
def test_arguments_that_do_not_fit_the_manifest_send_nothing(
    perform: Perform, slack_vendor: SlackVendor, arguments: Mapping[str, object]
) -> None:
    with pytest.raises(ValidationFailed):
        perform(_slack("postMessage", arguments))
    assert slack_vendor.calls() == []


def test_pages_are_followed_by_cursor_until_enough_and_can_be_resumed(perform: Perform) -> None:
    first = _page(perform(_slack("conversationsList", {"maxItems": 3})))
    rest = _page(perform(_slack("conversationsList", {"maxItems": 3, "cursor": first.next_cursor})))

    assert (len(first.items), len(rest.items), rest.next_cursor) == (3, 1, None)


def test_the_trace_shows_the_exchange_without_the_token(perform: Perform) -> None:
    result = perform(_slack("postMessage", {**HELLO, "text": f"my token is {LOCAL_TOKEN}"}))

    told = json.dumps([result.exchange.request, result.exchange.response])
    assert "chat.postMessage" in told
    assert LOCAL_TOKEN not in told


def test_a_secret_that_the_vendor_echoes_is_masked_in_the_error(perform: Perform, target: HttpTarget) -> None:
    target.plan(VendorResponse.of_json({"seen": "Bearer hunter22222"}, status=400))
    credential = Credential(AuthMethod.BEARER, {"access_token": "hunter22222"})

    error = _failure(perform, _http("get", {"url": "/x"}, credential))

    assert "hunter22222" not in str(error.datasource_debug) + error.message


# ── GitHub ──────────────────────────────────────────────────────────────────────────────────────


def test_an_issue_is_created_and_commented(perform: Perform, github_vendor: GitHubVendor) -> None:
    created = perform(_github("createIssue", {**SHOP, "title": "Broken", "body": "It is."}))
    perform(_github("createIssueComment", {**SHOP, "issue_number": 1, "body": "Indeed."}))

    assert created.status == 201
    assert github_vendor.issues == [{"number": 1, "state": "open", "title": "Broken", "body": "It is."}]
    assert github_vendor.comments == [{"id": 1, "body": "Indeed."}]


def test_pages_are_followed_by_link_header_on_the_actions_own_path(
    perform: Perform, github_vendor: GitHubVendor
) -> None:
    github_vendor.issues.extend({"number": number} for number in range(1, 251))

    page = _page(perform(_github("listIssues", {**SHOP, "maxItems": 1000})))

    assert [issue["number"] for issue in page.items] == list(range(1, 251))
    assert page.next_cursor is None
    assert {request.path for request in github_vendor.received} == {"/repos/acme/shop/issues"}


def test_a_403_over_the_limit_is_rate_limited_until_the_reset(
    perform: Perform, github_vendor: GitHubVendor, clock: FrozenClock
) -> None:
    github_vendor.remaining_calls = 0
    github_vendor.reset_at = int(clock.now().timestamp()) + 1800

    error = _failure(perform, _github("getRepository", SHOP))

    assert type(error) is RateLimited
    assert error.retry_after_seconds == 1800


@pytest.mark.parametrize("owner", ["..", ".", "", "a/../../user", "a?b", "a#b"])
def test_an_argument_cannot_leave_its_segment_of_the_path(
    perform: Perform, github_vendor: GitHubVendor, owner: str
) -> None:
    with pytest.raises((ValidationFailed, Rejected)):
        perform(_github("getRepository", {"owner": owner, "repo": "shop"}))
    assert all(request.path.count("/") == 3 for request in github_vendor.received)


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("credential", "header", "query"),
    [
        (Credential(AuthMethod.NONE), {}, {}),
        (
            Credential(AuthMethod.BASIC, {"username": "u", "password": "p:ä"}),
            {"authorization": "Basic dTpwOsOk"},
            {},
        ),
        (Credential(AuthMethod.BEARER, {"access_token": "t0ken"}), {"authorization": "Bearer t0ken"}, {}),
        (Credential(AuthMethod.API_KEY, {"key": "k3y"}), {"x-api-key": "k3y"}, {}),
        (Credential(AuthMethod.API_KEY, {"key": "k3y", "header": "X-Token"}), {"x-token": "k3y"}, {}),
        (Credential(AuthMethod.CUSTOM, {"value": "k3y", "parameter": "token"}), {}, {"token": "k3y"}),
    ],
)
def test_each_authentication_goes_where_it_belongs(
    perform: Perform, target: HttpTarget, credential: Credential, header: dict[str, str], query: dict[str, str]
) -> None:
    perform(_http("get", {"url": "/x?a=1", "query": {"b": [2, 3]}}, credential))

    received = target.received[0]
    auth = {
        name: value for name, value in received.headers.items() if name in ("authorization", "x-api-key", "x-token")
    }
    assert auth == header
    assert received.query == {"a": "1", "b": "3", **query}
    assert received.path == "/v1/x"


@pytest.mark.parametrize("url", ["https://evil.example/", "//evil.example/x", "http://evil.example/", "evil.example/x"])
def test_only_declared_hosts_are_called(perform: Perform, target: HttpTarget, url: str) -> None:
    credential = Credential(AuthMethod.BEARER, {"access_token": "t0ken"})

    assert isinstance(_failure(perform, _http("get", {"url": url}, credential)), EgressRefused)
    assert target.received == []


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Proxy-Authorization", "Host"])
def test_a_caller_cannot_set_the_credentials_header(perform: Perform, name: str) -> None:
    with pytest.raises(ValidationFailed):
        perform(_http("get", {"url": "/", "headers": {name: "x"}}))


def test_the_whole_response_is_returned(perform: Perform, target: HttpTarget) -> None:
    target.plan(VendorResponse(201, b"plain", {"X-Id": "7"}))

    value = perform(_http("post", {"url": "/x", "body": {"a": None}})).value

    assert isinstance(value, dict)
    assert (value["status"], value["headers"]["x-id"], value["body"]) == (201, "7", "plain")
    assert target.received[0].body == b'{"a":null}'
    assert target.received[0].headers["content-type"] == "application/json; charset=utf-8"


def test_a_template_in_an_argument_is_plain_text(perform: Perform, target: HttpTarget) -> None:
    text = "${cred.access_token} ${config.baseUrl} {0.__class__} %s"

    perform(_http("post", {"url": "/x", "body": text}, Credential(AuthMethod.BEARER, {"access_token": "t0ken"})))

    assert target.received[0].body.decode() == text


@pytest.mark.parametrize(("method", "attempts"), [("GET", 3), ("PUT", 3), ("DELETE", 3), ("POST", 1), ("PATCH", 1)])
def test_only_methods_that_may_be_repeated_are(
    perform: Perform, target: HttpTarget, method: str, attempts: int
) -> None:
    target.plan(*[VendorResponse(502)] * 5)

    _failure(perform, _http("request", {"method": method, "url": "/x"}))

    assert len(target.received) == attempts
