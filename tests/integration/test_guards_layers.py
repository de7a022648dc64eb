"""Imports point one way, and the contracts that say so would notice if they did not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGES = {"fastn": CHECKOUT / "shared" / "fastn", "functions": CHECKOUT / "functions"}
SOURCES_ONLY = shutil.ignore_patterns("__pycache__", "*.wasm", "*.js", "*.json")


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """The sources, free to be spoilt."""
    for name, source in PACKAGES.items():
        shutil.copytree(source, tmp_path / name, ignore=SOURCES_ONLY)
    shutil.copytree(CHECKOUT / "infra_cdk", tmp_path / "infra_cdk", ignore=SOURCES_ONLY)
    return tmp_path


def test_imports_point_one_way() -> None:
    outcome = _lint(CHECKOUT / "shared", CHECKOUT)

    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("file", "imported", "contract"),
    [
        ("fastn/platform/stray.py", "fastn.tenants.service", "The library's layers"),
        ("fastn/tenants/stray.py", "fastn.access.service", "The library's layers"),
        ("fastn/access/stray.py", "fastn.http.requests", "The library's layers"),
        ("fastn/http/stray.py", "fastn.local.ports", "The library's layers"),
        ("fastn/access/stray.py", "functions.api.health.get_health", "Functions use the library"),
        ("functions/api/health/stray.py", "fastn.local.ports", "What is deployed does without"),
    ],
)
def test_an_import_against_the_current_is_named(copied_tree: Path, file: str, imported: str, contract: str) -> None:
    (copied_tree / file).write_text(f"import {imported}\n")

    outcome = _lint(copied_tree)

    importer = file.removesuffix(".py").replace("/", ".")
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert f"{importer} -> {imported}" in " ".join(outcome.stdout.split())
    assert any(line.startswith(contract) and line.endswith("BROKEN") for line in outcome.stdout.splitlines())


def test_a_new_domain_has_to_be_given_its_place(copied_tree: Path) -> None:
    (copied_tree / "fastn" / "newcomer").mkdir()
    (copied_tree / "fastn" / "newcomer" / "__init__.py").touch()

    outcome = _lint(copied_tree)

    assert outcome.returncode == 1
    assert "newcomer" in outcome.stdout


def _lint(*search_path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--config", CHECKOUT / "importlinter.toml", "--no-cache", "--no-logo"],
        cwd=search_path[-1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in search_path)},
        capture_output=True,
        text=True,
        check=False,
    )
