"""Synthesis runs again when, and only when, something it reads has changed."""

import stat
import sys
from pathlib import Path

import pytest

from fastn.local.assembly import SYNTHESIS_READS, Digests, synthesize
from fastn.local.errors import StartFailed


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for path in ("functions/a.py", "shared/fastn/platform/migrations/0001.sql", "infra_cdk/app.py", "cdk.json"):
        file = tmp_path / "checkout" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return tmp_path / "checkout"


def remembered(checkout: Path) -> Path:
    memory = checkout.parent / "digests.json"
    digests = Digests(checkout, memory)
    digests.remember(digests.changed())
    return memory


def test_everything_is_new_at_first_and_nothing_after_it_was_remembered(checkout: Path) -> None:
    first = Digests(checkout, checkout.parent / "digests.json").changed()

    memory = remembered(checkout)

    assert first >= SYNTHESIS_READS
    assert Digests(checkout, memory).changed() == frozenset()


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("functions/a.py", {"functions"}),
        ("functions/new/b.py", {"functions"}),
        ("cdk.json", {"infra"}),
        ("shared/fastn/platform/migrations/0001.sql", {"migrations", "shared"}),
        ("statemachines/standard.asl.json", {"statemachines"}),
    ],
)
def test_changed_content_is_noticed_where_it_lies(checkout: Path, path: str, parts: set[str]) -> None:
    memory = remembered(checkout)

    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("changed")

    assert Digests(checkout, memory).changed() == parts


def test_renamed_file_is_a_change_and_a_compiled_one_is_not(checkout: Path) -> None:
    memory = remembered(checkout)
    cache = checkout / "functions" / "__pycache__"
    cache.mkdir()
    (cache / "a.pyc").write_text("compiled")
    after_compiling = Digests(checkout, memory).changed()

    (checkout / "functions" / "a.py").rename(checkout / "functions" / "b.py")

    assert after_compiling == frozenset()
    assert Digests(checkout, memory).changed() == {"functions"}


def test_failed_work_is_not_remembered(checkout: Path) -> None:
    memory = checkout.parent / "digests.json"
    digests = Digests(checkout, memory)

    digests.remember(["functions"])

    assert "functions" not in Digests(checkout, memory).changed()
    assert "migrations" in Digests(checkout, memory).changed()


def write_cdk(checkout: Path, script: str) -> None:
    cdk = checkout / "node_modules" / ".bin" / "cdk"
    cdk.parent.mkdir(parents=True)
    cdk.write_text(f"#!/bin/sh\n{script}\n")
    cdk.chmod(cdk.stat().st_mode | stat.S_IXUSR)


def test_synth_runs_the_local_stage_under_this_interpreter_without_validation(checkout: Path) -> None:
    write_cdk(
        checkout, 'mkdir -p "$6"; printf "%s|%s|%s|%s" "$*" "$CDK_VALIDATION" "$PWD" "$(command -v python)" > "$6/got"'
    )
    output = checkout / "build" / "cdk-local"

    synthesize(checkout, output, log_path=checkout / "synth.log")

    arguments, validation, directory, interpreter = (output / "got").read_text().split("|")
    assert arguments == f"synth -q -c stage=local -o {output}"
    assert validation == "false"
    assert directory == str(checkout)
    assert Path(interpreter).parent == Path(sys.executable).parent


def test_failed_synth_shows_the_end_of_its_log(checkout: Path) -> None:
    write_cdk(checkout, "echo the stack is wrong >&2; exit 1")

    with pytest.raises(StartFailed, match="the stack is wrong"):
        synthesize(checkout, checkout / "out", log_path=checkout / "synth.log")
