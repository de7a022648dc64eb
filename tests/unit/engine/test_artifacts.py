"""Builds: what is refused, what is the same, what loading costs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastn.engine.artifacts import (
    GUEST,
    EngineArtifacts,
    PreludeImage,
    artifact_path,
    build_id,
)
from fastn.engine.errors import ArtifactsUnusable
from fastn.engine.models import BuildId
from fastn.engine.precompile import main, record_prelude


def test_missing_artifacts_name_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ArtifactsUnusable) as caught:
        EngineArtifacts.load(tmp_path / "nothing")

    assert f"python -m fastn.engine.precompile {tmp_path / 'nothing'}" in caught.value.message


@pytest.mark.parametrize(
    "damage",
    [
        {"wasm_sha256": {"guest": "0", "transform": "0"}},
        {"wasmtime": "0.0.0"},
        {"build_id": "0"},
    ],
)
def test_artifacts_of_another_build_are_refused(
    artifacts_directory: Path, tmp_path: Path, damage: dict[str, object]
) -> None:
    directory = shutil.copytree(artifacts_directory, tmp_path / "engine")
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | damage))

    with pytest.raises(ArtifactsUnusable, match="another version"):
        EngineArtifacts.load(directory)


@pytest.mark.parametrize("content", [b"", b"not machine code"])
def test_a_damaged_module_is_refused(artifacts_directory: Path, tmp_path: Path, content: bytes) -> None:
    directory = shutil.copytree(artifacts_directory, tmp_path / "engine")
    build = BuildId(json.loads((directory / "manifest.json").read_text())["build_id"])
    artifact_path(directory, GUEST, build).write_bytes(content)

    with pytest.raises(ArtifactsUnusable, match="cannot be loaded"):
        EngineArtifacts.load(directory)


def test_artifacts_for_another_machine_are_refused_before_they_are_loaded(
    artifacts_directory: Path, tmp_path: Path
) -> None:
    directory = shutil.copytree(artifacts_directory, tmp_path / "engine")
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | {"target": "riscv64gc-unknown-linux-gnu"}))

    with pytest.raises(ArtifactsUnusable, match="another machine"):
        EngineArtifacts.load(directory)


def test_another_target_is_refused_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--target", "riscv64gc-unknown-linux-gnu"])

    assert "run the command on riscv64gc-unknown-linux-gnu" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")

    with pytest.raises(ArtifactsUnusable, match="damaged"):
        EngineArtifacts.load(tmp_path)


def test_the_build_id_covers_wasm_and_wasmtime() -> None:
    ids = {build_id({"guest": guest}, version) for guest in "ab" for version in ("1", "2")}

    assert len(ids) == 4


def test_the_prelude_image_is_reproducible_and_survives_its_file(artifacts: EngineArtifacts) -> None:
    again = record_prelude(artifacts.engine, artifacts.guest)

    assert again == artifacts.prelude
    assert PreludeImage.from_bytes(again.to_bytes()) == again


def test_an_unknown_option_of_the_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--nope"])

    assert "usage" in capsys.readouterr().err


def run_python(script: str, *arguments: str) -> str:
    """What a script prints in a fresh interpreter with an empty environment."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": "shared"})
    return done.stdout.strip()


def test_importing_the_engine_loads_neither_wasmtime_nor_aws() -> None:
    script = (
        "import sys, fastn.engine.runs, fastn.engine.artifacts;"
        "print([m for m in ('wasmtime', 'quickjs_rs', 'boto3', 'botocore', 'pydantic') if m in sys.modules])"
    )

    assert run_python(script) == "[]"


def test_running_a_program_never_imports_quickjs_rs(artifacts_directory: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from fastn.engine.artifacts import EngineArtifacts;"
        "from fastn.engine.languages import Language; from fastn.engine.models import RunInput;"
        "from fastn.engine.runs import JavaScriptEngine;"
        "engine = JavaScriptEngine(EngineArtifacts.load(Path(sys.argv[1])));"
        "program = engine.compile('export default () => 42', Language.TYPESCRIPT);"
        "run = engine.start(program, RunInput('{}', {}, 0, bytes(32)));"
        "print(run.advance().value, 'quickjs_rs' in sys.modules)"
    )

    assert run_python(script, str(artifacts_directory)) == "42 False"
