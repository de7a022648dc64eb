"""Rendering results: what becomes JSON how."""

import json

from fastn.http.responses import JsonText, Reply, render_result, to_json
from fastn.platform.wire import WireModel


class Thing(WireModel):
    """A body."""

    thing_name: str


def test_text_that_is_json_already_passes_unparsed() -> None:
    odd = JsonText('{"n": 12345678901234567890.0, "n": 1}')

    assert to_json(odd) is odd


def test_plain_values_become_compact_json_in_their_own_characters() -> None:
    assert to_json({"a": ["ü", None, 1.5]}) == '{"a":["ü",null,1.5]}'


def test_a_model_is_written_by_its_wire_names() -> None:
    assert json.loads(to_json(Thing(thing_name="x"))) == {"thingName": "x"}


def test_a_reply_overrides_status_and_headers() -> None:
    response = render_result(Reply(Thing(thing_name="x"), 202, {"content-type": "text/x", "a": "b"}), 200, "r")

    assert response["statusCode"] == 202
    assert (response["headers"]["content-type"], response["headers"]["a"]) == ("text/x", "b")


def test_a_reply_without_a_status_takes_the_declared_one() -> None:
    assert render_result(Reply(None), 204, "r")["statusCode"] == 204


def test_nothing_has_no_body_and_no_content_type() -> None:
    response = render_result(None, 204, "r")

    assert "body" not in response
    assert "content-type" not in response["headers"]


def test_a_plain_string_is_json_too() -> None:
    assert render_result("x", 200, "r")["body"] == '"x"'


def test_the_revision_of_a_result_is_its_etag() -> None:
    class Revised(Thing):
        revision: int

    assert render_result(Revised(thing_name="x", revision=7), 200, "r")["headers"]["etag"] == '"7"'
    assert "etag" not in render_result(Thing(thing_name="x"), 200, "r")["headers"]
