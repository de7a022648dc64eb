"""Masking known secrets in whatever form they are written."""

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.secrets.rules import MASK, mask_secrets

SECRET = 'p@ss/w+rd "ü" %&='


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        urllib.parse.quote(SECRET, safe="").replace("%40", "%40").lower().replace("%c3%bc", "%c3%bc"),
        json.dumps({"a": SECRET}),
        json.dumps({"a": SECRET}, ensure_ascii=False),
        json.dumps(json.dumps({"a": SECRET})),
        json.dumps(SECRET).replace("/", "\\/"),
    ],
)
def test_every_written_form_is_masked(written: str) -> None:
    masked = mask_secrets(f"before {written} after", [SECRET])

    assert MASK in masked
    assert "ss/w" not in masked
    assert "ss%2" not in masked


@given(st.binary(max_size=5), st.text(min_size=8, max_size=40), st.binary(max_size=5), st.booleans())
def test_base64_is_masked_wherever_the_secret_stands_in_it(
    before: bytes, secret: str, after: bytes, url_safe: bool
) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    encoded = encode(before + secret.encode() + after).decode()

    assert MASK in mask_secrets(encoded, [secret])


def test_a_secret_inside_another_leaves_no_rest() -> None:
    assert mask_secrets("abcdefgh", ["abcd", "abcdefgh"]) == MASK


def test_values_too_short_to_be_secrets_change_nothing() -> None:
    assert mask_secrets("a and abc", ["a", "abc", ""]) == "a and abc"
