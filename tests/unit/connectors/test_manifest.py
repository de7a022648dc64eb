"""The manifest language: what it refuses, and the contract of the built-in connectors."""

from pathlib import Path

import pytest

from fastn.connectors.catalog import ConnectorCatalog
from fastn.connectors.errors import ManifestInvalid
from fastn.connectors.manifest import load_manifest, parse_manifest
from fastn.connectors.models import AuthMethod
from fastn.connectors.selectors import Subject, parse_condition
from fastn.errors import NotFound

MINIMAL = """\
fastn: connector/v1
slug: acme
name: Acme
auth: {none: {}}
http: {base: https://api.acme.example}
actions:
  getThing: {do: 'GET /things/${in.id}', in: {id!: string}}
"""

BROKEN = [
    ("slug: acme", "slug: Acme", "slug"),
    ("name: Acme", "name: Acme\nrate: 1/s", "rate"),
    ("name: Acme", "name: Acme\nname: Twice", "name"),
    ("connector/v1", "connector/v2", "fastn"),
    ("{none: {}}", "{magic: {}}", "auth.magic"),
    ("{none: {}}", "{none: {x: 1}}", "auth.none.x"),
    ("{none: {}}", "{api_key: {fields: {k!: secret}}}", "auth.api_key"),
    ("{none: {}}", "{api_key: {fields: {k!: secret}, apply: {header: {X: '${cred.j}'}}}}", "auth.api_key.apply.header"),
    ("https://api.acme.example}", "http://api.acme.example}", "http.base"),
    ("https://api.acme.example}", "'https://${config.shop}.x.example'}", "http.base"),
    ("https://api.acme.example}", "https://api.acme.example, hosts: ['*.com']}", "http.hosts.0"),
    ("https://api.acme.example}", "https://api.acme.example, retry: {if: [teapot]}}", "http.retry.if.0"),
    ("https://api.acme.example}", "https://api.acme.example, error: {when: ok}}", "http.error.when"),
    (
        "https://api.acme.example}",
        "https://api.acme.example, error: {when: '$[?match(@.a,\"x\")]'}}",
        "http.error.when",
    ),
    ("https://api.acme.example}", "https://api.acme.example, test: {action: no}}", "http.test.action"),
    ("GET /things", "FETCH /things", "actions.getThing.do"),
    ("GET /things", "GET things", "actions.getThing.do"),
    ("${in.id}", "${in.other}", "actions.getThing"),
    ("${in.id}", "${cred.id}", "actions.getThing.do.path"),
    ("${in.id}", "${in.id", "actions.getThing.do.path"),
    ("${in.id}", "${in.id.__class__}", "actions.getThing.do.path"),
    ("id!: string", "id!: text", "actions.getThing.in.id!.type"),
    ("id!: string", "id!: string = x", "actions.getThing.in.id!"),
    ("id!: string", "id!: {type: string, pattern: '(a+)+'}", "actions.getThing.in.id!.pattern"),
    ("getThing:", "get_thing:", "actions.get_thing"),
]
VERIFY = "webhooks: {verify: {algorithm: hmac-sha256, header: X-Sig"


@pytest.mark.parametrize(("sound", "broken", "key"), BROKEN, ids=[broken for _, broken, _ in BROKEN])
def test_a_broken_manifest_is_refused_naming_file_and_key(sound: str, broken: str, key: str) -> None:
    assert sound in MINIMAL

    with pytest.raises(ManifestInvalid) as refused:
        load_manifest(MINIMAL.replace(sound, broken), "acme/manifest.yaml")

    assert (refused.value.file, refused.value.key) == ("acme/manifest.yaml", key)


@pytest.mark.parametrize(
    "verify",
    [
        VERIFY + ", signed: 'v0'}}",
        VERIFY + ", signed: '${timestamp}.${body}'}}",
        VERIFY + ", timestamp_header: X-Time, tolerance_seconds: 300}}",
        VERIFY + ", timestamp_header: X-Time, signed: '${timestamp}.${body}'}}",
        VERIFY.replace("hmac-sha256", "hmac-md5") + "}}",
    ],
)
def test_a_signature_scheme_that_proves_nothing_is_refused(verify: str) -> None:
    with pytest.raises(ManifestInvalid):
        load_manifest(MINIMAL + verify, "acme/manifest.yaml")


@pytest.mark.parametrize("text", ["a: [", "a: &x 1\nb: *x", "a: !!python/object:os.system {}", "- 1", "", "1: 2"])
def test_yaml_beyond_plain_data_is_refused(text: str) -> None:
    with pytest.raises(ManifestInvalid):
        load_manifest(text, "acme/manifest.yaml")


def test_a_parsed_document_is_read_like_its_text() -> None:
    no_fields: dict[str, object] = {}
    document: dict[str, object] = {
        "fastn": "connector/v1",
        "slug": "acme",
        "name": "Acme",
        "auth": {"none": no_fields},
        "http": {"base": "https://api.acme.example"},
        "actions": {"getThing": {"do": "GET /things/${in.id}", "in": {"id!": "string"}}},
    }

    assert parse_manifest(document, "acme") == load_manifest(MINIMAL, "acme")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("$.ok == false", True),
        ("$.ok == 0", False),
        ("$.error", True),
        ("$.none", False),
        ("$.list[1].a", True),
        ("$.list[?@.a==2]", True),
        ("$.list[?@.a==3]", False),
        ('header.X-Left == "0"', True),
        ("status == 418", True),
    ],
)
def test_conditions_look_at_body_headers_and_status(condition: str, expected: bool) -> None:
    body = {"ok": False, "error": "e", "list": [{"a": 1}, {"a": 2}]}

    assert parse_condition(condition).holds(Subject(body, {"x-left": "0"}, 418)) is expected


# ── The built-in connectors ─────────────────────────────────────────────────────────────────────


def test_every_built_in_folder_is_a_sound_connector_of_that_slug() -> None:
    connectors = ConnectorCatalog().list_connectors()

    assert [connector.slug for connector in connectors] == ["github", "http", "slack"]
    for connector in connectors:
        assert connector.docs.startswith("https://")
        assert connector.description
        for action in connector.actions.values():
            assert action.description
            assert action.docs or connector.slug == "http"


def test_the_built_in_checklist_has_a_row_for_every_connector() -> None:
    import fastn.connectors.catalog as home

    readme = (Path(home.__file__).parent / "builtin" / "README.md").read_text("utf-8")

    for connector in ConnectorCatalog().list_connectors():
        assert f"| `{connector.slug}` |" in readme


def test_http_knows_every_method_of_authentication_that_needs_no_login_page() -> None:
    assert set(ConnectorCatalog().load_connector("http").auth) == set(AuthMethod) - {AuthMethod.OAUTH2}


@pytest.mark.parametrize("slug", ["", "nope", "../slack", "slack/../http", "/etc", "Slack", "slack\x00"])
def test_a_slug_that_is_no_connector_is_not_found(slug: str) -> None:
    with pytest.raises(NotFound):
        ConnectorCatalog().load_connector(slug)


def test_a_connector_is_read_once_and_found_by_its_name_in_code(tmp_path: Path) -> None:
    _write(tmp_path, "acme-crm", MINIMAL.replace("slug: acme", "slug: acme-crm"))
    catalog = ConnectorCatalog(tmp_path)

    assert catalog.find_by_code_name("acmeCrm") is catalog.load_connector("acme-crm")


def test_two_slugs_of_one_name_in_code_are_refused(tmp_path: Path) -> None:
    for slug in ("acme-2go", "acme2go"):
        _write(tmp_path, slug, MINIMAL)

    with pytest.raises(ManifestInvalid):
        ConnectorCatalog(tmp_path).list_connectors()


def test_a_folder_that_is_not_its_slug_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "other", MINIMAL)

    with pytest.raises(ManifestInvalid):
        ConnectorCatalog(tmp_path).load_connector("other")


def _write(root: Path, folder: str, text: str) -> None:
    (root / folder).mkdir()
    (root / folder / "manifest.yaml").write_text(text, "utf-8")
