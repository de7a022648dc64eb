"""Values from outside that PostgreSQL can keep: text without NUL, JSON without NUL, NaN or infinity."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, cast

from pydantic import AfterValidator, JsonValue


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character U+0000")
    return text


def _storable(document: dict[str, JsonValue]) -> dict[str, JsonValue]:
    pending: list[object] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            _without_nul(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("must not contain numbers beyond what a double can hold")
        elif isinstance(value, Mapping):
            members = cast(Mapping[str, object], value)
            pending += [*members.keys(), *members.values()]
        elif isinstance(value, Sequence):
            pending += cast(Sequence[object], value)
    return document


WITHOUT_NUL = AfterValidator(_without_nul)
"""Last in the annotation of text that a `text` column takes."""

StorableObject = Annotated[dict[str, JsonValue], AfterValidator(_storable)]
"""A JSON object that a `jsonb` column takes."""
