"""What every endpoint gets from its declaration: what is asked, answered and written down."""

import json
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, cast

import pytest
from pydantic import Field

from fastn.access.models import Permission
from fastn.errors import (
    Conflict,
    DatasourceError,
    FastnError,
    Forbidden,
    InternalError,
    NotFound,
    PreconditionFailed,
    RateLimited,
    TimedOut,
    TooManyRequests,
    ValidationFailed,
)
from fastn.http.endpoint import EndpointFunction, endpoint
from fastn.http.requests import Request
from fastn.http.responses import INTERNAL_MESSAGE, Reply
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.platform.wire import PageRequest, WireModel
from fastn.tenants.models import FoundedSpace
from tests.foundation.api_calls import api_event, body_of
from tests.foundation.platforms import IssueKey
from tests.unit.http.conftest import Call

THINGS = "GET /api/v1/tenants/{tenant_id}/things"
SPACE_THINGS = "GET /api/v1/things"


class Owner(WireModel):
    """On whose behalf the handler was asked to work."""

    tenant_id: str
    environment: str
    actor: str


class NewThing(WireModel):
    """A body."""

    thing_name: Annotated[str, Field(min_length=1)]


class Thing(WireModel):
    """A resource with a revision."""

    thing_name: str
    revision: int


def _owner(request: Request, _platform: Platform) -> Owner:
    tenant_id = str(request.owner.tenant_id)
    return Owner(tenant_id=tenant_id, environment=request.environment, actor=request.caller.actor)


def _create(request: Request[NewThing], _platform: Platform) -> Reply[Thing]:
    return Reply(Thing(thing_name=request.body.thing_name, revision=3), status=201, headers={"location": "/things/1"})


def _list(request: Request[None, PageRequest], _platform: Platform) -> dict[str, object]:
    return {"limit": request.query.limit, "after": str(request.query.after())}


def _update(request: Request, _platform: Platform) -> Thing:
    if request.expected_revision not in {None, 3}:
        raise PreconditionFailed("The thing changed.")
    return Thing(thing_name="x", revision=4)


def _get_one(request: Request, _platform: Platform) -> dict[str, object]:
    return {"id": str(request.id("thing_id"))}


def _nothing(_request: Request, _platform: Platform) -> None:
    return None


def _raw(request: Request[bytes], _platform: Platform) -> dict[str, object]:
    return {"size": len(request.body)}


owner_of_path = endpoint(THINGS, permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})(_owner)
create = endpoint("POST /api/v1/things", open_because="a test", max_body_bytes=64)(_create)
list_things = endpoint(SPACE_THINGS, open_because="a test")(_list)
update = endpoint("PUT /api/v1/things", open_because="a test")(_update)
get_one = endpoint("GET /api/v1/things/{thing_id}", open_because="a test")(_get_one)
delete = endpoint("DELETE /api/v1/things", open_because="a test", status=204)(_nothing)
take_raw = endpoint("POST /api/v1/raw", open_because="a test", max_body_bytes=8)(_raw)


def _raising(error: Exception, name: str = __name__) -> EndpointFunction[None]:
    def implementation(_request: Request, _platform: Platform) -> None:
        raise error

    implementation.__module__ = name
    return endpoint("GET /api/v1/broken", open_because="a test")(implementation)


# ── What is asked ─────────────────────────────────────────────────────────────────────────────────


def test_a_body_becomes_the_declared_model_and_a_reply_keeps_its_own_status(call: Call) -> None:
    response = call(create, api_event("POST /api/v1/things", body={"thingName": "a"}))

    assert response["statusCode"] == 201
    assert response["headers"]["location"] == "/things/1"
    assert response["headers"]["etag"] == '"3"'
    assert body_of(response) == {"thingName": "a", "revision": 3}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"thingName": "a", "extra": 1}, "extra"),
        ({}, "thingName"),
        ({"thingName": ""}, "thingName"),
        ({"thingName": {"filepath": "/etc/passwd"}}, "thingName"),
        ("{", ""),
        ("[]", ""),
        ("null", ""),
    ],
)
def test_a_body_that_is_not_the_declared_one_is_refused_and_not_repeated(call: Call, body: object, field: str) -> None:
    response = call(create, api_event("POST /api/v1/things", body=body))

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")
    assert [problem["field"] for problem in body_of(response)["details"]["problems"]] == [field]
    assert "/etc/passwd" not in response["body"]


def test_a_missing_body_is_refused(call: Call) -> None:
    assert call(create, api_event("POST /api/v1/things"))["statusCode"] == 400


def test_a_body_on_a_route_without_one_is_refused(call: Call) -> None:
    assert call(list_things, api_event(SPACE_THINGS, body={}))["statusCode"] == 400


def test_white_space_is_no_body(call: Call) -> None:
    assert call(list_things, api_event(SPACE_THINGS, body=" \n"))["statusCode"] == 200


def test_a_body_over_the_limit_is_refused_in_decoded_bytes(call: Call) -> None:
    fits = call(create, api_event("POST /api/v1/things", body=json.dumps({"thingName": "a" * 47})))
    over = call(create, api_event("POST /api/v1/things", body=json.dumps({"thingName": "a" * 48})))

    assert (fits["statusCode"], over["statusCode"], body_of(over)["code"]) == (201, 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(("encoded", "status"), [("AAAAAAAAAAA=", 200), ("AAAAAAAAAAAA", 413), ("!", 400)])
def test_a_binary_body_is_measured_after_decoding(call: Call, encoded: str, status: int) -> None:
    event = {**api_event("POST /api/v1/raw", body=encoded), "isBase64Encoded": True}

    assert call(take_raw, event)["statusCode"] == status


def test_a_raw_body_route_leaves_unknown_query_parameters_to_the_vendor(call: Call) -> None:
    assert call(take_raw, api_event("POST /api/v1/raw", body="x", query={"any": "1"}))["statusCode"] == 200


@pytest.mark.parametrize(
    "query", [{"unknown": "1"}, {"limit": "0"}, {"limit": "101"}, {"limit": "many"}, {"cursor": "x" * 201}]
)
def test_a_query_that_is_not_the_declared_one_is_refused(call: Call, query: Mapping[str, str]) -> None:
    assert call(list_things, api_event(SPACE_THINGS, query=query))["statusCode"] == 400


@pytest.mark.parametrize("cursor", ["short", "A" * 21, "A" * 23, "ä" * 22, "'; DROP TABLE x"])
def test_a_cursor_that_is_not_ours_is_refused(call: Call, cursor: str) -> None:
    response = call(list_things, api_event(SPACE_THINGS, query={"cursor": cursor}))

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")


def test_a_query_on_a_route_without_one_is_refused(call: Call) -> None:
    assert call(update, api_event("PUT /api/v1/things", query={"a": "1"}))["statusCode"] == 400


@pytest.mark.parametrize(
    ("thing_id", "status"),
    [
        ("0190b4a6-0000-7000-8000-000000000001", 200),
        ("../../etc/passwd", 404),
        ("%2e%2e%2f", 404),
        ("{0190b4a6-0000-7000-8000-000000000001}", 404),
        ("0190b4a600007000800000000000000", 404),
        ("urn:uuid:0190b4a6-0000-7000-8000-000000000001", 404),
        ("0190b4a6-0000-7000-8000-000000000001\n", 404),
        ("\u0660190b4a6-0000-7000-8000-000000000001", 404),
    ],
)
def test_an_id_that_cannot_be_one_is_a_missing_resource(call: Call, thing_id: str, status: int) -> None:
    assert (
        call(get_one, api_event("GET /api/v1/things/{thing_id}", path={"thing_id": thing_id}))["statusCode"] == status
    )


@pytest.mark.parametrize(
    ("if_match", "status"),
    [(None, 200), ("*", 200), ('"3"', 200), ('W/"3"', 200), ('"2"', 412), ("3", 400), ('"x"', 400), ('"3", "4"', 400)],
)
def test_if_match_guards_an_update(call: Call, if_match: str | None, status: int) -> None:
    headers = {} if if_match is None else {"If-Match": if_match}

    assert call(update, api_event("PUT /api/v1/things", headers=headers))["statusCode"] == status


# ── What is answered ──────────────────────────────────────────────────────────────────────────────


def test_every_answer_carries_the_request_id_and_is_not_cached(call: Call) -> None:
    good = call(delete, api_event("DELETE /api/v1/things", request_id="abc"))
    bad = call(delete, api_event("DELETE /api/v1/things", request_id="abc", body="x"))

    assert good == {"statusCode": 204, "headers": {"x-request-id": "abc", "cache-control": "no-store"}}
    assert bad["headers"] == {
        "x-request-id": "abc", "cache-control": "no-store", "content-type": "application/json"
    }  # fmt: skip
    assert body_of(bad)["requestId"] == "abc"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Forbidden("no"), 403, "FORBIDDEN"),
        (NotFound(), 404, "NOT_FOUND"),
        (ValidationFailed("no"), 400, "VALIDATION_FAILED"),
        (Conflict("no"), 409, "CONFLICT"),
        (PreconditionFailed("no"), 412, "PRECONDITION_FAILED"),
        (TimedOut("no"), 408, "TIMED_OUT"),
        (TooManyRequests("no"), 429, "RATE_LIMITED"),
        (RateLimited("no"), 400, "DATASOURCE_CONNECTION_ERROR"),
    ],
)
def test_an_error_has_exactly_the_members_of_the_api_reference(
    call: Call, error: FastnError, status: int, code: str
) -> None:
    response = call(_raising(error), api_event("GET /api/v1/broken"))

    assert response["statusCode"] == status
    assert body_of(response) == {
        "code": code,
        "statusCode": status,
        "message": error.message,
        "requestId": "request-1",
        "isCustomAuthError": False,
    }


def test_a_datasource_error_shows_its_step_and_the_vendors_words(call: Call) -> None:
    error = DatasourceError("Slack refused.", step="send", datasource_debug={"status": 500})

    body = body_of(call(_raising(error), api_event("GET /api/v1/broken")))

    assert (body["step"], body["datasourceDebug"]) == ("send", {"status": 500})


def test_a_rate_limit_says_when_to_come_back(call: Call) -> None:
    response = call(_raising(TooManyRequests("slow down")), api_event("GET /api/v1/broken"))

    assert response["headers"]["retry-after"] == "1"


@pytest.mark.parametrize("error", [RuntimeError("canary-4711"), InternalError("canary-4711"), KeyError("canary-4711")])
def test_what_broke_inside_is_not_told_to_the_caller(call: Call, error: Exception) -> None:
    response = call(_raising(error), api_event("GET /api/v1/broken"))

    assert response["statusCode"] == 500
    assert "canary" not in json.dumps(response)
    assert body_of(response)["message"] == INTERNAL_MESSAGE
    assert body_of(response)["code"] == "INTERNAL_ERROR"


def test_a_capability_that_was_not_declared_is_an_internal_error(call: Call) -> None:
    def greedy(_request: Request, platform: Platform) -> None:
        _ = platform.database

    function = endpoint("GET /api/v1/greedy", open_because="a test")(greedy)

    assert call(function, api_event("GET /api/v1/greedy"))["statusCode"] == 500


# ── What is written down ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fresh_name() -> str:
    """The name of a function that has not logged yet: a logger keeps the stream it was made with."""
    return f"function_{uuid.uuid4().hex}"


def _lines(output: str) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", json.loads(line)) for line in output.splitlines()]


def test_a_request_leaves_one_log_line_and_one_line_of_metrics(
    call: Call, issue_key: IssueKey, customer: Scope, capsys: pytest.CaptureFixture[str], fresh_name: str
) -> None:
    def answer(_request: Request, _platform: Platform) -> None:
        return None

    answer.__module__ = fresh_name
    function = endpoint(SPACE_THINGS, permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})(answer)

    call(function, api_event(SPACE_THINGS, key=issue_key(customer).text))

    log, metrics = _lines(capsys.readouterr().out)
    assert (log["message"], log["status"], log["requestId"]) == ("request", 200, "request-1")
    assert log["tenantId"] == str(customer.tenant_id)
    names = [metric["Name"] for metric in metrics["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert sorted(names) == ["Duration", "Status2xx"]


def test_a_failure_is_logged_with_its_type_and_stack_but_no_body_and_no_key(
    call: Call, issue_key: IssueKey, founded: FoundedSpace, capsys: pytest.CaptureFixture[str], fresh_name: str
) -> None:
    def broken(request: Request[NewThing], _platform: Platform) -> None:
        raise RuntimeError("the cause")

    broken.__module__ = fresh_name
    function = endpoint("POST /api/v1/broken", permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})(broken)
    key = issue_key(founded.scope).text

    call(function, api_event("POST /api/v1/broken", key=key, body={"thingName": "canary-4711"}))

    output = capsys.readouterr().out
    failure = next(line for line in _lines(output) if line.get("level") == "ERROR")
    assert failure["errorType"] == "RuntimeError"
    assert "test_endpoint.py" in str(failure["causes"])
    assert "canary" not in output
    assert key[-43:] not in output


def test_the_values_in_an_errors_own_words_are_not_logged(
    call: Call, capsys: pytest.CaptureFixture[str], fresh_name: str
) -> None:
    call(_raising(RuntimeError("password=canary-4711"), fresh_name), api_event("GET /api/v1/broken"))

    output = capsys.readouterr().out
    assert "RuntimeError" in output
    assert "canary" not in output


# ── Declarations that contradict themselves ───────────────────────────────────────────────────────


@pytest.mark.parametrize("both", [True, False])
def test_a_route_has_a_permission_or_a_reason_to_be_open_and_not_both(both: bool) -> None:
    arguments: dict[str, Any] = {"permission": Permission.WORKFLOWS_READ, "open_because": "x"} if both else {}

    with pytest.raises(TypeError, match="GET /api/v1/x"):
        endpoint("GET /api/v1/x", **arguments)


def test_a_route_with_a_permission_needs_the_keys(founded: FoundedSpace) -> None:
    assert Need.INGRESS_DATABASE in owner_of_path.declaration.needs
    assert Need.INGRESS_DATABASE not in create.declaration.needs


def test_a_routes_annotations_say_what_it_takes_and_returns() -> None:
    assert create.declaration.body is NewThing
    assert list_things.declaration.query is PageRequest
    assert (take_raw.declaration.takes_raw_body, take_raw.declaration.body) == (True, None)
    assert owner_of_path.declaration.response is Owner
    assert owner_of_path.declaration.path_parameters == ("tenant_id",)
    assert owner_of_path.declaration.summary.startswith("What every endpoint gets")
