"""Values between JSON and PostgreSQL.

In: every parameter goes as text whose type PostgreSQL infers, as JavaScript's own drivers do: `5` fits a TEXT
column, `"5"` an INTEGER one. null is NULL, an array is an array literal, an object is its JSON text; a JSON array
for a JSONB column is passed as JSON.stringify makes it.

Out: integers and floats are numbers, but a BIGINT beyond 2^53 is a string, and so is every NUMERIC, which a
number could not hold exactly; NaN and infinity are null. Booleans and JSON are themselves, arrays are arrays.
DATE is YYYY-MM-DD; TIMESTAMP is ISO 8601 and TIMESTAMPTZ the same in UTC with Z; INTERVAL is an ISO 8601 duration;
BYTEA is base64. Everything else is PostgreSQL's text.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import cast

from psycopg import adapters
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.types.string import TextLoader

from fastn.errors import ValidationFailed

LARGEST_SAFE_INTEGER = 2**53 - 1
_ALREADY_JSON = frozenset({"bool", "int2", "int4", "oid"})


class JsonText(str):
    """A value that is JSON text already: told as PostgreSQL wrote it, however deep or long its numbers."""

    __slots__ = ()


def parameter_text(value: object) -> str | None:
    """A JSON value as the text PostgreSQL reads; None for null. Raises ValidationFailed for what it cannot hold."""
    if value is None:
        return None
    text = _text(value)
    if "\0" in text:
        raise ValidationFailed("A parameter of fastn.db.query cannot contain the character U+0000.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValidationFailed("A parameter of fastn.db.query contains half of a surrogate pair.") from error
    return text


def value_as_json(value: object) -> str:
    """A loaded value as JSON text."""
    if isinstance(value, JsonText):
        return value
    if isinstance(value, list):
        return f"[{', '.join(value_as_json(element) for element in cast('list[object]', value))}]"
    return json.dumps(value)


def json_adapters() -> AdaptersMap:
    """Adapters that load every value as what JSON says of it."""
    made = AdaptersMap(adapters)
    for info in made.types:
        if info.name not in _ALREADY_JSON:
            made.register_loader(info.oid, _LOADERS.get(info.name, TextLoader))
    return made


class JsonContext(AdaptContext):
    """Gives a connection the adapters of `json_adapters`."""

    def __init__(self) -> None:
        self._adapters = json_adapters()

    @property
    def adapters(self) -> AdaptersMap:
        """The adapters."""
        return self._adapters

    @property
    def connection(self) -> None:
        """None: the adapters are made before there is a connection."""
        return


class _BigIntegerLoader(Loader):
    def load(self, data: Buffer) -> int | str:
        number = int(bytes(data))
        return number if abs(number) <= LARGEST_SAFE_INTEGER else str(number)


class _FloatLoader(Loader):
    def load(self, data: Buffer) -> float | None:
        number = float(bytes(data))
        return number if math.isfinite(number) else None


class _InstantLoader(Loader):
    def load(self, data: Buffer) -> str:
        # "2026-11-22 12:00:00.5+00"; sessions are in UTC. "infinity" and years BC stay PostgreSQL's text.
        text = bytes(data).decode()
        if text.endswith("+00"):
            text = f"{text.removesuffix('+00')}Z"
        return text.replace(" ", "T", 1) if not text.endswith("BC") else text


class _JsonLoader(Loader):
    def load(self, data: Buffer) -> JsonText:
        return JsonText(bytes(data).decode())


class _BinaryLoader(Loader):
    def load(self, data: Buffer) -> str:
        return base64.b64encode(bytes.fromhex(bytes(data)[2:].decode())).decode()


_LOADERS: Mapping[str, type[Loader]] = {
    "int8": _BigIntegerLoader,
    "float4": _FloatLoader,
    "float8": _FloatLoader,
    "timestamp": _InstantLoader,
    "timestamptz": _InstantLoader,
    "bytea": _BinaryLoader,
    "json": _JsonLoader,
    "jsonb": _JsonLoader,
}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_SAFE_INTEGER:
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return _array_literal(cast("list[object]", value))
    return json.dumps(value, ensure_ascii=False)


def _array_literal(elements: Sequence[object]) -> str:
    # PostgreSQL's manual, 8.15.6: every element quoted, so that none is mistaken for NULL or a delimiter.
    return "{" + ",".join(_array_element(element) for element in elements) + "}"


def _array_element(element: object) -> str:
    if element is None:
        return "NULL"
    if isinstance(element, list):
        return _array_literal(cast("list[object]", element))
    escaped = _text(element).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
