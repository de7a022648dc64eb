"""The HTTP API routes, refuses and hides errors as API Gateway does."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.local.conftest import Laptop

pytestmark = pytest.mark.e2e


def request(laptop: Laptop, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    return request_to(laptop.endpoints.api_url, method, path, **headers)


def request_to(url: str, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    answered = {name.lower(): value for name, value in response.getheaders()}
    return response.status, answered, json.loads(body) if body else None


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        ("GET", "/items", "GET /items", None),
        ("GET", "/items/42", "GET /items/{item_id}", {"item_id": "42"}),
        ("GET", "/items/a%20b", "GET /items/{item_id}", {"item_id": "a b"}),
        ("POST", "/items/42/publish", "POST /items/{item_id}/publish", {"item_id": "42"}),
        ("DELETE", "/items/42", "$default", None),
        ("GET", "/nowhere/at/all", "$default", None),
    ],
)
def test_request_reaches_the_most_specific_route(
    laptop: Laptop, method: str, path: str, route: str, parameters: dict[str, str] | None
) -> None:
    status, _, body = request(laptop, method, path)

    assert status == 200
    assert body["route"] == route
    assert body["parameters"] == parameters


def test_query_string_arrives_raw(laptop: Laptop) -> None:
    _, _, body = request(laptop, "GET", "/items?limit=5&cursor=a%2Fb")

    assert body["query"] == "limit=5&cursor=a%2Fb"


def test_exception_of_a_function_is_not_shown_to_the_caller(laptop: Laptop) -> None:
    status, _, body = request(laptop, "GET", "/boom")

    assert (status, body) == (500, {"message": "Internal Server Error"})


def test_integration_that_takes_too_long_is_answered_503(laptop: Laptop) -> None:
    status, _, body = request(laptop, "GET", "/slow")

    assert (status, body) == (503, {"message": "Service Unavailable"})


def test_preflight_of_a_declared_origin_is_answered_by_the_gateway(laptop: Laptop) -> None:
    _, headers, _ = request(
        laptop, "OPTIONS", "/items", origin="https://app.example", access_control_request_method="GET"
    )

    assert headers["access-control-allow-origin"] == "https://app.example"
    assert headers["access-control-allow-methods"] == "GET"
    assert headers["access-control-max-age"] == "60"


def test_other_origins_are_not_allowed(laptop: Laptop) -> None:
    _, headers, _ = request(laptop, "GET", "/items", origin="https://evil.example")

    assert "access-control-allow-origin" not in headers


def test_function_url_answers_at_the_root_of_its_own_port(laptop: Laptop) -> None:
    status, _, body = request_to(laptop.endpoints.instant_url, "POST", "/api/v1/sync-orders")

    assert (status, body) == (200, {"path": "/api/v1/sync-orders", "method": "POST"})
