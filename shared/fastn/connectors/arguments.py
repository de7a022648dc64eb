"""Checking given values against what a manifest declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from fastn.connectors.models import Parameter, Parameters, ValueType
from fastn.errors import ValidationFailed

_MAX_PATTERN_CHARACTERS = 1000
_JSON_KINDS: Mapping[ValueType, tuple[type, ...]] = {
    ValueType.STRING: (str,),
    ValueType.SECRET: (str,),
    ValueType.INTEGER: (int,),
    ValueType.NUMBER: (int, float),
    ValueType.BOOLEAN: (bool,),
    ValueType.OBJECT: (Mapping,),
    ValueType.ARRAY: (list, tuple),
}


def check_values(given: Mapping[str, object], declared: Parameters, *, what: str) -> dict[str, object]:
    """The given values, defaults filled in; null counts as not given.

    Raises ValidationFailed whose details name every value that is unknown, missing or of another type.
    Values themselves are never repeated: they may be secrets.
    """
    problems = {name: "is not known here" for name in given if name not in declared}
    values: dict[str, object] = {}
    for name, parameter in declared.items():
        value = given.get(name)
        if value is None:
            value = parameter.default
        if value is None:
            if parameter.is_required:
                problems[name] = "must be given"
            continue
        problem = _problem(value, parameter)
        if problem is None:
            values[name] = value
        else:
            problems[name] = problem
    if problems:
        said = "; ".join(f"'{name}' {problem}" for name, problem in problems.items())
        raise ValidationFailed(f"{what}: {said}.", details={"fields": problems})
    return values


def _problem(value: object, parameter: Parameter) -> str | None:
    kinds = _JSON_KINDS.get(parameter.type)
    is_wrong_boolean = isinstance(value, bool) and parameter.type is not ValueType.BOOLEAN
    if kinds is not None and (is_wrong_boolean or not isinstance(value, kinds)):
        return f"must be of the type {parameter.type.value}"
    if parameter.choices and value not in parameter.choices:
        return f"must be one of {', '.join(str(choice) for choice in parameter.choices)}"
    if parameter.pattern is not None:
        text = cast(str, value)
        if len(text) > _MAX_PATTERN_CHARACTERS or parameter.pattern.fullmatch(text) is None:
            return f"must match {parameter.pattern.pattern}"
    return None
