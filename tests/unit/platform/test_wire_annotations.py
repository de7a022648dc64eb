"""What the annotations of wire models take, refuse, and say of themselves."""

from datetime import datetime
from typing import Annotated, Any

import pytest
from pydantic import Field, JsonValue, StringConstraints, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaMode

from fastn.platform.wire import STORABLE, Instant, StorableJson, StorableObject

SCALARS = ["\0", "a\0b", float("nan"), float("inf"), -float("inf")]


def _wrapped(value: object, levels: int) -> Any:  # JSON
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("levels", [0, 1, 2, 100])
def test_what_postgresql_cannot_keep_is_refused_at_any_depth(scalar: object, levels: int) -> None:
    with pytest.raises(ValidationError, match="must not contain"):
        TypeAdapter[Any](StorableJson).validate_python(_wrapped(scalar, levels))


@pytest.mark.parametrize("document", [{"\0": 1}, {"a": [{"b": {"c\0": None}}]}])
def test_names_of_members_are_checked_too(document: dict[str, JsonValue]) -> None:
    for annotation in (StorableJson, StorableObject):
        with pytest.raises(ValidationError, match=r"U\+0000"):
            TypeAdapter[Any](annotation).validate_python(document)


@pytest.mark.parametrize("text", ["1e400", "-1e400", "NaN", "Infinity", "[1e999]", '"\\u0000"', '{"\\u0000": 1}'])
def test_every_way_to_spell_it_in_json_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="must not contain"):
        TypeAdapter[Any](StorableJson).validate_json(text)


@pytest.mark.parametrize(
    "document",
    [None, True, 0, -1.5, 1.7976931348623157e308, 10**400, "", "\\u0000", "\x01\u2028😀", [], {}, {"a": [{"": None}]}],
)
def test_every_other_json_is_taken_as_it_is(document: JsonValue) -> None:
    assert TypeAdapter[Any](StorableJson).validate_python(document) == document


def test_storable_object_is_an_object() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[Any](StorableObject).validate_python([])


def test_limits_before_the_check_count_what_is_kept_and_are_described() -> None:
    text = TypeAdapter[Any](Annotated[str, StringConstraints(strip_whitespace=True, max_length=3), STORABLE])
    members = TypeAdapter[Any](Annotated[dict[str, JsonValue], Field(max_length=3), STORABLE])

    assert text.validate_python("  abc ") == "abc"
    assert text.json_schema() == {"type": "string", "maxLength": 3}
    assert members.json_schema()["maxProperties"] == 3


def test_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter[Any](StorableJson).validate_python({"password": "planted\0"})

    (problem,) = refused.value.errors(include_input=False, include_context=False, include_url=False)
    assert "planted" not in str(problem)


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_an_instant_says_its_format_whichever_way_it_goes(mode: JsonSchemaMode) -> None:
    schema = TypeAdapter[datetime](Instant).json_schema(mode=mode)

    assert schema == {"type": "string", "format": "date-time"}
