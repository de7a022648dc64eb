"""Finding known secret values in text, however they were written."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "••••"
# Shorter values would blot out half of any text, and are no secrets anyway.
MIN_SECRET_CHARACTERS = 4
_MIN_BASE64_CHARACTERS = 6


class SecretMask:
    """Masks a set of known values in any number of texts."""

    __slots__ = ("_forms",)

    def __init__(self, known_values: Iterable[str]) -> None:
        forms = {form for value in known_values for form in written_forms(value)}
        # Longest first: a shorter form may be part of a longer one, and would leave its rest behind.
        self._forms = sorted(forms, key=len, reverse=True)

    @property
    def longest_form_characters(self) -> int:
        """How long a secret can be in a text."""
        return len(self._forms[0]) if self._forms else 0

    def mask(self, text: str) -> str:
        """The text with every known value replaced, as `mask_secrets` does."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def mask_secrets(text: str, known_values: Iterable[str]) -> str:
    """The text with every known value replaced, raw, URL-encoded, in base64 or as inside a JSON string.

    Base64 is found at each of its three alignments, so also within a longer encoded text such as
    `user:password`. Values shorter than MIN_SECRET_CHARACTERS are left alone.
    """
    return SecretMask(known_values).mask(text)


def written_forms(value: str) -> set[str]:
    """Every way a value is looked for; empty if it is too short to be a secret."""
    if len(value) < MIN_SECRET_CHARACTERS:
        return set()
    encoded = quote(value, safe="")
    forms = {value, encoded, _with_lower_escapes(encoded), quote(value), quote_plus(value)}
    for as_ascii in (True, False):
        inside = json.dumps(value, ensure_ascii=as_ascii)[1:-1]
        # Once more for JSON carried in a string of JSON; and some writers escape the slash.
        forms |= {inside, json.dumps(inside)[1:-1], inside.replace("/", "\\/")}
    return forms | set(_base64_forms(value.encode("utf-8", "replace")))


def _with_lower_escapes(encoded: str) -> str:
    parts = encoded.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def _base64_forms(value: bytes) -> Iterable[str]:
    for offset in range(3):
        # Characters that also encode a neighbouring byte differ from text to text, so they are cut off.
        start = (offset * 8 + 5) // 6
        end = (offset + len(value)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = encode(b"\0" * offset + value).decode("ascii")[start:end]
            if len(core) >= _MIN_BASE64_CHARACTERS:
                yield core
