"""Layers are built once for each content, hold what functions import, and fit."""

import shutil
import zipfile
from pathlib import Path

import pytest

from fastn.platform.capabilities import SERVICE_OF_NEED
from infra_cdk.layer_build import (
    AWS_SERVICES,
    Architecture,
    BuiltLayers,
    LayerBuildFailed,
    LayersTooLarge,
    require_room,
    unzipped_bytes,
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    library = tmp_path / "shared" / "fastn"
    for name in ("errors.py", "engine/prelude/url.js", "cli/main.py", "local/postgres.py", "__pycache__/errors.pyc"):
        file = library / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {name}\n", encoding="utf-8")
    (tmp_path / "requirements.lock").write_text("", encoding="utf-8")
    return tmp_path


def names_in(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def test_the_library_layer_leaves_out_the_command_line_and_the_embedded_runtime(checkout: Path) -> None:
    archive = BuiltLayers(checkout, checkout / "build").library()

    assert names_in(archive) == {"python/fastn/errors.py", "python/fastn/engine/prelude/url.js"}


def test_the_same_content_is_built_once_and_byte_for_byte_the_same_elsewhere(checkout: Path) -> None:
    first = BuiltLayers(checkout, checkout / "build").library()
    built_at = first.stat().st_mtime_ns

    again = BuiltLayers(checkout, checkout / "build").library()
    elsewhere = BuiltLayers(checkout, checkout / "other").library()

    assert again == first
    assert again.stat().st_mtime_ns == built_at
    assert elsewhere.name == first.name
    assert elsewhere.read_bytes() == first.read_bytes()


def test_changed_content_is_built_anew_and_the_outdated_layer_goes(checkout: Path) -> None:
    layers = BuiltLayers(checkout, checkout / "build")
    before = layers.library()

    (checkout / "shared" / "fastn" / "errors.py").write_text("# other\n", encoding="utf-8")
    after = layers.library()

    assert after != before
    assert not before.exists()


def test_what_is_not_shipped_does_not_change_the_layer(checkout: Path) -> None:
    layers = BuiltLayers(checkout, checkout / "build")
    before = layers.library()

    shutil.rmtree(checkout / "shared" / "fastn" / "cli")

    assert layers.library() == before


def test_layers_beyond_lambdas_limit_are_refused_with_their_sizes(checkout: Path) -> None:
    archive = BuiltLayers(checkout, checkout / "build").library()
    size_bytes = unzipped_bytes(archive)

    require_room([archive, archive], limit_bytes=2 * size_bytes + 1)
    with pytest.raises(LayersTooLarge, match=archive.name):
        require_room([archive, archive], limit_bytes=2 * size_bytes)


def test_without_uv_the_failure_says_what_to_do(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", str(checkout))

    with pytest.raises(LayerBuildFailed, match="make setup"):
        BuiltLayers(checkout, checkout / "build").dependencies(Architecture.ARM64)


def test_a_failed_build_leaves_nothing_behind(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = checkout / "uv"
    failing.write_text("#!/bin/sh\necho no such wheel >&2\nexit 1\n", encoding="utf-8")
    failing.chmod(0o755)
    monkeypatch.setenv("UV", str(failing))

    with pytest.raises(LayerBuildFailed, match="no such wheel"):
        BuiltLayers(checkout, checkout / "build").dependencies(Architecture.ARM64)
    assert list((checkout / "build").iterdir()) == []


def test_every_service_a_need_speaks_to_keeps_its_model() -> None:
    spoken = {*SERVICE_OF_NEED.values(), "dynamodb", "rds", "sts"}

    assert spoken <= AWS_SERVICES
