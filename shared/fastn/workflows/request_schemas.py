"""Request schemas: JSON Schema that comes from a tenant, checked without following it anywhere."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import JsonValue

from fastn.errors import ValidationFailed

if TYPE_CHECKING:
    from jsonschema_rs import Validator

MAX_PROBLEMS = 20


def check_request_schema(schema: Mapping[str, JsonValue]) -> None:
    """Raises ValidationFailed for what is not a JSON Schema, or refers to a document outside itself."""
    _validator(schema)


def check_input(schema: Mapping[str, JsonValue], value: JsonValue) -> None:
    """Raises ValidationFailed, naming up to 20 problems by place, if the input does not match the schema.

    The problems never quote the input: it may hold secrets. Time is linear in the input, whatever the
    schema's patterns are.
    """
    problems: list[JsonValue] = []
    for error in _validator(schema).iter_errors(value):
        field = ".".join(["input", *map(str, error.instance_path)])
        problems.append({"field": field, "problem": error.message})
        if len(problems) == MAX_PROBLEMS:
            break
    if problems:
        raise ValidationFailed("The input does not match the flow's request schema.", details={"problems": problems})


def _validator(schema: Mapping[str, JsonValue]) -> "Validator":
    from jsonschema_rs import RegexOptions, ValidationError, validator_for

    try:
        # The schema is a tenant's: offline, or $ref would make us fetch URLs and read files; and with the
        # linear regex engine, or a pattern such as ^(a+)+$ would run for ever.
        return validator_for(dict(schema), offline=True, pattern_options=RegexOptions(), mask="the value")
    except (ValidationError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValidationFailed(f"requestSchema: {reason}") from error
