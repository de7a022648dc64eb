"""Builds the Lambda layers as deterministic zip files, without Docker.

The packages come from the hash-locked requirement files, as wheels for Lambda's own platform: Python 3.13 on
Amazon Linux 2023, whose glibc is 2.34. A layer is built once for each content of what it is made of; the file
name carries that content's hash.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

UNZIPPED_LIMIT_BYTES = 250 * 1024 * 1024
"""What all layers of a function and its own code may hold together (Lambda quotas)."""
RECIPE = "1"
"""Part of every hash: raise it when the way layers are built changes."""
PYTHON_VERSION = "3.13"
NOT_SHIPPED_DIRECTORIES = frozenset({"__pycache__", "tests", "bin", "include"})
NOT_SHIPPED_SUFFIXES = frozenset({".pyc", ".pyi", ".pxd", ".pyx", ".h"})
AWS_SERVICES = frozenset(
    {
        "bedrock-runtime",
        "dynamodb",
        "events",
        "kms",
        "lambda",
        "rds",
        "s3",
        "scheduler",
        "secretsmanager",
        "sesv2",
        "sqs",
        "sso",
        "sso-oidc",
        "ssm",
        "stepfunctions",
        "sts",
    }
)
"""The services whose models botocore keeps in the layer: what functions call, and what credentials may come from."""
ARCHIVE_TIME = (1980, 1, 1, 0, 0, 0)
ENGINE_TARGET = "x86_64-unknown-linux-gnu"
HASH_LENGTH = 16
LIBRARY_PARTS_NOT_SHIPPED = frozenset({"cli", "local"})


class LayerBuildFailed(Exception):
    """A layer could not be built; the message says what to do."""


class LayersTooLarge(Exception):
    """The layers of one function exceed Lambda's quota; the message says each one's size."""


class Architecture(StrEnum):
    """A processor a function runs on, as uv names its platform."""

    ARM64 = "aarch64-manylinux_2_34"
    X86_64 = "x86_64-manylinux_2_34"

    @property
    def processor(self) -> str:
        """The processor alone, as in file names."""
        return self.split("-", maxsplit=1)[0]


class LayerArchives(Protocol):
    """Where the zip files of the layers come from."""

    def dependencies(self, architecture: Architecture) -> Path:
        """The zip with every locked package, under `python/`."""
        ...

    def library(self) -> Path:
        """The zip with `python/fastn`."""
        ...

    def engine(self) -> Path:
        """The zip with wasmtime under `python/` and the compiled engine under `engine/`."""
        ...


@dataclass(frozen=True, slots=True)
class BuiltLayers:
    """Builds each layer of the checkout at `root` into `directory`, unless the same content was built before."""

    root: Path
    directory: Path

    def dependencies(self, architecture: Architecture) -> Path:
        """The zip for this processor. Raises LayerBuildFailed if uv is missing or fails."""
        lock = self.root / "requirements.lock"

        def fill(content: Path) -> None:
            _install(lock, architecture, content / "python")
            _drop_unused_service_models(content / "python" / "botocore" / "data")

        return self._built_once(f"dependencies-{architecture.processor}", [lock], fill)

    def library(self) -> Path:
        """The zip of the domain library, without the command line and the embedded runtime."""
        files = list(library_files(self._library))

        def fill(content: Path) -> None:
            for file in files:
                target = content / "python" / "fastn" / file.relative_to(self._library)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)

        return self._built_once("fastn", files, fill)

    def engine(self) -> Path:
        """The zip for x86-64. Raises LayerBuildFailed elsewhere: machine code is compiled for the processor at hand."""
        lock = self.root / "requirements-engine.lock"
        sources = [lock, *library_files(self._library / "engine")]

        def fill(content: Path) -> None:
            _install(lock, Architecture.X86_64, content / "python")
            command = [sys.executable, "-m", "fastn.engine.precompile", str(content / "engine")]
            _run([*command, "--target", ENGINE_TARGET], f"the engine is compiled on {ENGINE_TARGET} only")

        return self._built_once("engine-x86_64", sources, fill)

    @property
    def _library(self) -> Path:
        return self.root / "shared" / "fastn"

    def _built_once(self, name: str, sources: Iterable[Path], fill: Callable[[Path], None]) -> Path:
        archive = self.directory / f"{name}-{_content_hash(self.root, sources)}.zip"
        if archive.exists():
            return archive
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            content = Path(scratch) / "content"
            content.mkdir()
            fill(content)
            packed = Path(scratch) / archive.name
            _pack(content, packed)
            packed.replace(archive)
        for outdated in self.directory.glob(f"{name}-{'[0-9a-f]' * HASH_LENGTH}.zip"):
            if outdated != archive:
                outdated.unlink()
        return archive


def require_room(archives: Sequence[Path], limit_bytes: int = UNZIPPED_LIMIT_BYTES) -> None:
    """Raises LayersTooLarge if these layers together exceed what Lambda unpacks for one function."""
    sizes = [(archive.name, unzipped_bytes(archive)) for archive in archives]
    total_bytes = sum(size_bytes for _, size_bytes in sizes)
    if total_bytes >= limit_bytes:
        raise LayersTooLarge(f"layers of {total_bytes} bytes, where {limit_bytes} is too many: {sizes}")


def library_files(library: Path) -> Iterable[Path]:
    """The files of the library that functions may import or read, in a stable order."""
    for file in sorted(library.rglob("*")):
        parts = file.relative_to(library).parts
        if file.is_file() and parts[0] not in LIBRARY_PARTS_NOT_SHIPPED and _is_shipped(file, parts):
            yield file


def unzipped_bytes(archive: Path) -> int:
    """What the archive's files hold when unpacked."""
    with zipfile.ZipFile(archive) as opened:
        return sum(member.file_size for member in opened.infolist())


def _content_hash(root: Path, sources: Iterable[Path]) -> str:
    digest = hashlib.sha256(f"{RECIPE} {PYTHON_VERSION} {sorted(AWS_SERVICES)}".encode())
    for source in sources:
        digest.update(f"\0{source.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:HASH_LENGTH]


def _pack(content: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as opened:
        for file in sorted(content.rglob("*")):
            parts = file.relative_to(content).parts
            if file.is_file() and _is_shipped(file, parts):
                member = zipfile.ZipInfo("/".join(parts), ARCHIVE_TIME)
                member.external_attr = 0o644 << 16
                member.compress_type = zipfile.ZIP_DEFLATED
                opened.writestr(member, file.read_bytes())


def _is_shipped(file: Path, parts: tuple[str, ...]) -> bool:
    return file.suffix not in NOT_SHIPPED_SUFFIXES and NOT_SHIPPED_DIRECTORIES.isdisjoint(parts[:-1])


def _drop_unused_service_models(data: Path) -> None:
    for entry in data.iterdir() if data.is_dir() else ():
        if entry.is_dir() and entry.name not in AWS_SERVICES:
            shutil.rmtree(entry)


def _install(lock: Path, architecture: Architecture, target: Path) -> None:
    command = [_uv(lock.parent), "pip", "install", "--quiet", "--python", sys.executable, "--require-hashes"]
    platform = ["--python-platform", architecture, "--python-version", PYTHON_VERSION, "--only-binary", ":all:"]
    _run([*command, *platform, "--requirement", str(lock), "--target", str(target)], f"{lock.name} could not be packed")


def _uv(root: Path) -> str:
    beside = root / ".tools" / "bin" / "uv"
    found = os.environ.get("UV") or (str(beside) if beside.exists() else shutil.which("uv"))
    if not found:
        raise LayerBuildFailed("uv is missing: `make setup` installs it into .tools, or set UV to its path")
    return found


def _run(command: list[str], failure: str) -> None:
    finished = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # our own arguments
    if finished.returncode != 0:
        raise LayerBuildFailed(f"{failure}: {finished.stderr.strip() or finished.stdout.strip()}")
