"""Request schemas that come from tenants."""

import socket
import time
from pathlib import Path
from typing import cast

import pytest
from pydantic import JsonValue

from fastn.errors import ValidationFailed
from fastn.workflows.request_schemas import MAX_PROBLEMS, check_input, check_request_schema

ORDER: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"order_id": {"type": "integer"}, "lines": {"type": "array", "items": {"type": "string"}}},
    "required": ["order_id"],
}


def test_input_that_matches_is_taken() -> None:
    check_input(ORDER, {"order_id": 7, "lines": ["a"]})


def test_input_that_does_not_match_is_refused_naming_each_place() -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_input(ORDER, {"lines": ["a", 2]})

    assert {problem["field"] for problem in _problems(refused.value)} == {"input", "input.lines.1"}


def test_problems_never_quote_the_input() -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_input(ORDER, {"order_id": "hunter2", "lines": "hunter2"})

    assert "hunter2" not in f"{refused.value.message}{refused.value.details}"


def test_problems_are_limited() -> None:
    lines: list[JsonValue] = [1] * 500

    with pytest.raises(ValidationFailed) as refused:
        check_input(ORDER, {"order_id": 1, "lines": lines})

    assert len(_problems(refused.value)) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "#/definitions/missing"},
        {"pattern": "(unclosed"},
        {"pattern": "a{1000}{1000}{100}"},
        {"$schema": "https://example.com/own-dialect"},
        {"required": "order_id"},
    ],
)
def test_what_is_no_json_schema_is_refused(schema: dict[str, JsonValue]) -> None:
    with pytest.raises(ValidationFailed, match=r"^requestSchema: "):
        check_request_schema(schema)


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_reference_to_a_url_is_refused_and_nothing_is_dialled(keyword: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        reference = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"

        with pytest.raises(ValidationFailed, match=r"^requestSchema: "):
            check_request_schema({"properties": {"x": {keyword: reference}}})
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_reference_to_a_file_is_refused_though_the_file_is_a_schema(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "integer"}')

    with pytest.raises(ValidationFailed, match=r"^requestSchema: "):
        check_request_schema({"properties": {"x": {"$ref": file.as_uri()}}})


def test_reference_inside_the_schema_is_followed() -> None:
    tree: dict[str, JsonValue] = {"properties": {"left": {"$ref": "#"}, "value": {"type": "integer"}}}

    check_input(tree, {"left": {"left": {"value": 1}}})
    with pytest.raises(ValidationFailed):
        check_input(tree, {"left": {"left": {"value": "x"}}})


def test_catastrophic_pattern_is_matched_in_linear_time() -> None:
    started = time.process_time()

    with pytest.raises(ValidationFailed):
        check_input({"properties": {"x": {"pattern": "^(a+)+$"}}}, {"x": "a" * 5_000 + "!"})

    assert time.process_time() - started < 1


def _problems(error: ValidationFailed) -> list[dict[str, str]]:
    assert error.details is not None
    return cast(list[dict[str, str]], error.details["problems"])
