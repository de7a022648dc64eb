"""Synthesizes the CDK app for the laptop, and only when something it reads has changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from fastn.local.errors import StartFailed

# What each part of the checkout is hashed from; a part that does not exist hashes as empty.
PARTS: Mapping[str, tuple[str, ...]] = {
    "infra": ("infra_cdk", "cdk.json", "package-lock.json"),
    "functions": ("functions",),
    "shared": ("shared",),
    "layers": ("layers", "requirements.lock", "requirements-engine.lock"),
    "statemachines": ("statemachines",),
    "migrations": ("shared/fastn/platform/migrations",),
}
SYNTHESIS_READS = frozenset({"infra", "functions", "shared", "layers", "statemachines"})
_IGNORED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "cdk.out", ".git"})


class Digests:
    """Content hashes of the checkout's parts, and those of the last successful start."""

    def __init__(self, checkout: Path, remembered_in: Path) -> None:
        self._remembered_in = remembered_in
        self._current = {part: _digest(checkout, sources) for part, sources in PARTS.items()}
        self._remembered = _read(remembered_in)

    def changed(self) -> frozenset[str]:
        """The parts that differ from what was last remembered."""
        return frozenset(part for part, digest in self._current.items() if self._remembered.get(part) != digest)

    def remember(self, parts: Iterable[str]) -> None:
        """Record that the work these parts call for has been done."""
        self._remembered |= {part: self._current[part] for part in parts}
        self._remembered_in.write_text(json.dumps(self._remembered, indent=2) + "\n", encoding="utf-8")


def synthesize(checkout: Path, output: Path, *, log_path: Path) -> None:
    """Write the cloud assembly of the `local` stage to `output`; raises StartFailed with the log's end.

    The CDK's own validation is left to CI: it takes tens of seconds.
    """
    command = [str(checkout / "node_modules" / ".bin" / "cdk"), "synth", "-q", "-c", "stage=local", "-o", str(output)]
    # The app runs under the interpreter that runs us, whatever `python3` the shell would find.
    environment = {
        **os.environ,
        "CDK_VALIDATION": "false",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": sys.prefix,
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    shutil.rmtree(output, ignore_errors=True)
    with log_path.open("w", encoding="utf-8") as log:
        outcome = subprocess.run(
            command, cwd=checkout, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    if outcome.returncode != 0:
        end = "\n".join(log_path.read_text(encoding="utf-8").splitlines()[-15:])
        raise StartFailed(f"cdk synth failed; see {log_path}\n{end}")


def _digest(checkout: Path, sources: Iterable[str]) -> str:
    digest = sha256()
    for source in sources:
        for path in _files(checkout / source):
            digest.update(f"{path.relative_to(checkout)}\0".encode())
            digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found: list[Path] = []
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [name for name in subdirectories if name not in _IGNORED_DIRECTORIES]
        found += [Path(directory) / name for name in names if not name.endswith(".pyc")]
    return sorted(found)


def _read(path: Path) -> dict[str, str]:
    try:
        return {str(part): str(digest) for part, digest in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}
