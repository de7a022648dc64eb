"""References and mappings."""

import pytest

from fastn.flows.templates import TemplateInvalid, nested, parse_reference, references_in


@pytest.mark.parametrize(
    ("text", "root", "keys"),
    [
        ("input.message", "input", ("message",)),
        (" trigger.line_items[0].sku ", "trigger", ("line_items", "0", "sku")),
        ("steps.fetch.output", "steps", ("fetch", "output")),
        ('input["First name"].x-y', "input", ("First name", "x-y")),
        ("input", "input", ()),
    ],
)
def test_references_are_a_root_and_keys(text: str, root: str, keys: tuple[str, ...]) -> None:
    reference = parse_reference(text)

    assert (reference.root, reference.keys) == (root, keys)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "input.",
        "input..a",
        "1 + 1",
        "input.x()",
        "constructor.constructor('x')()",
        "input[a]",
        "input.a b",
        "in`put`",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(TemplateInvalid, match="no reference"):
        parse_reference(text)


def test_references_are_found_at_any_depth_and_in_any_text() -> None:
    found = references_in({"a": ["x {{input.a}} y {{input.b}}", {"c": "{{input.c}}"}], "d": 1, "{{no}}": None})

    assert [reference.keys for reference in found] == [("a",), ("b",), ("c",)]


def test_values_nested_without_end_are_refused() -> None:
    value: object = "x"
    for _ in range(50):
        value = [value]

    with pytest.raises(TemplateInvalid, match="nested"):
        list(references_in(value))


def test_dotted_fields_become_objects_and_lists() -> None:
    mapping: dict[str, object] = {
        "a.b": 1,
        "a.list[1].x": 2,
        "top": {"kept.as": "is"},
        "First name": 3,
        "a.list[1].y": 4,
    }

    assert nested(mapping) == {
        "a": {"b": 1, "list": [None, {"x": 2, "y": 4}]},
        "top": {"kept.as": "is"},
        "First name": 3,
    }


@pytest.mark.parametrize(
    "mapping",
    [
        {"a": 1, "a.b": 2},
        {"a.b": 2, "a": 1},
        {"a[0]": 1, "a.b": 2},
        {"a": {"b": 1}, "a.c": 2},
        {"a[1000000000]": 1},
    ],
)
def test_fields_that_contradict_each_other_are_refused(mapping: dict[str, object]) -> None:
    with pytest.raises(TemplateInvalid, match="field"):
        nested(mapping)
