"""The engine's compiled parts: where they come from, what build they are, how they are loaded.

A build is everything a heap snapshot depends on: both wasm modules, wasmtime's version, the settings the
modules are compiled with, and the prelude. Its id is the SHA-256 of those.
"""

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fastn.engine.errors import ArtifactsUnusable
from fastn.engine.models import BuildId, MemoryImage

if TYPE_CHECKING:
    import wasmtime

IMAGE_FORMAT = 1
MAX_WASM_STACK_BYTES = 2 * 1024 * 1024
PRELUDE_DIRECTORY = Path(__file__).with_name("prelude")
PRELUDE_PREFIX = "fastn:prelude/"
MANIFEST = "manifest.json"
GUEST, TRANSFORM, IMAGE = "guest", "transform", "prelude"
# Everything a snapshot depends on beside the modules. The target is not part of it: memory is the same on all.
SETTINGS = f"epoch_interruption;opt=speed;max_wasm_stack={MAX_WASM_STACK_BYTES};image={IMAGE_FORMAT}"
LINUX_TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
NATIVE = "native"
COMMAND = "python -m fastn.engine.precompile"


def machine_target() -> str:
    """The target of this machine: on Linux its architecture's baseline triple, elsewhere `native`.

    Naming the triple keeps the compiler from using what only this machine's processor has: the result runs on
    any of its architecture. `native` serves a developer's own machine.
    """
    return LINUX_TARGETS.get(os.uname().machine, NATIVE) if sys.platform == "linux" else NATIVE


def new_wasm_engine() -> "wasmtime.Engine":
    """A wasmtime engine with the settings every module of the platform is compiled and run with."""
    import wasmtime

    config = wasmtime.Config()
    config.epoch_interruption = True
    config.cranelift_opt_level = "speed"
    config.max_wasm_stack = MAX_WASM_STACK_BYTES
    if machine_target() != NATIVE:
        config.target = machine_target()
    return wasmtime.Engine(config)


def prelude_sources() -> dict[str, str]:
    """The prelude's modules by the name they are imported under."""
    files = sorted(PRELUDE_DIRECTORY.glob("*.js"))
    return {PRELUDE_PREFIX + file.name: file.read_text(encoding="utf-8") for file in files}


def wasm_bytes(name: str) -> bytes:
    """A wasm module (`guest` or `transform`) out of the installed quickjs-rs package, which is never imported.

    Raises ArtifactsUnusable when the package is not installed.
    """
    package = find_spec("quickjs_rs")
    if package is None or package.origin is None:
        raise ArtifactsUnusable("The package quickjs-rs is not installed, so the engine cannot be compiled.")
    return Path(package.origin).with_name(f"_{name}.wasm").read_bytes()


def build_id(wasm_sha256: dict[str, str], wasmtime_version: str) -> BuildId:
    """The id of the build these wasm modules make with this wasmtime, these settings and this prelude."""
    parts = {
        "wasm": wasm_sha256,
        "wasmtime": wasmtime_version,
        "settings": SETTINGS,
        "prelude": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in prelude_sources().items()},
    }
    return BuildId(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class PreludeImage:
    """A guest's memory right after the prelude ran, and the handles of the functions the host calls in it."""

    memory: MemoryImage
    configure: int
    watch: int
    settle: int

    def to_bytes(self) -> bytes:
        """The image as one file: a line of JSON, then the chunks' bytes."""
        head = {
            "size": self.memory.size_bytes,
            "stack": self.memory.stack_pointer,
            "handles": [self.configure, self.watch, self.settle],
            "chunks": [[offset, len(content)] for offset, content in self.memory.chunks],
        }
        return json.dumps(head).encode() + b"\n" + b"".join(content for _, content in self.memory.chunks)

    @classmethod
    def from_bytes(cls, content: bytes) -> "PreludeImage":
        """The inverse of `to_bytes`."""
        head_text, _, body = content.partition(b"\n")
        head = cast("dict[str, object]", json.loads(head_text))
        chunks: list[tuple[int, bytes]] = []
        position = 0
        for offset, length in cast("list[list[int]]", head["chunks"]):
            chunks.append((offset, body[position : position + length]))
            position += length
        memory = MemoryImage(cast("int", head["size"]), cast("int", head["stack"]), tuple(chunks))
        return cls(memory, *cast("list[int]", head["handles"]))


@dataclass(frozen=True, slots=True)
class EngineArtifacts:
    """A loaded build: modules compiled ahead of time and the prelude's image.

    The compiled modules are machine code: load only what this installation made itself.
    """

    build_id: BuildId
    engine: "wasmtime.Engine"
    guest: "wasmtime.Module"
    transform: "wasmtime.Module"
    prelude: PreludeImage

    @classmethod
    def load(cls, directory: Path) -> "EngineArtifacts":
        """The build in `directory`; compiles nothing.

        Raises ArtifactsUnusable when it is missing, or does not belong to this wasmtime and prelude.
        """
        import wasmtime

        build = _read_build_id(directory)
        engine = new_wasm_engine()
        try:
            guest, transform = (
                wasmtime.Module.deserialize_file(engine, str(artifact_path(directory, name, build)))
                for name in (GUEST, TRANSFORM)
            )
            image = artifact_path(directory, IMAGE, build).read_bytes()
        except (OSError, wasmtime.WasmtimeError) as error:
            raise _unusable(directory, "cannot be loaded") from error
        return cls(build, engine, guest, transform, PreludeImage.from_bytes(image))


def artifact_path(directory: Path, name: str, build: BuildId) -> Path:
    """Where one artifact of a build lies."""
    return directory / f"{name}-{build[:16]}.{'image' if name == IMAGE else 'cwasm'}"


def _read_build_id(directory: Path) -> BuildId:
    try:
        manifest = cast("dict[str, object]", json.loads((directory / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise _unusable(directory, "is missing") from error
    except ValueError as error:
        raise _unusable(directory, "is damaged") from error
    # That the modules fit the installed wasmtime is checked by wasmtime itself, when it loads them.
    expected = build_id(cast("dict[str, str]", manifest.get("wasm_sha256")), str(manifest.get("wasmtime")))
    if manifest.get("build_id") != expected:
        raise _unusable(directory, "was made by another version")
    # Asked here, because wasmtime ends the process when its own architecture is not the target.
    if manifest.get("target") != machine_target():
        raise _unusable(directory, "was made for another machine")
    return expected


def _unusable(directory: Path, what: str) -> ArtifactsUnusable:
    return ArtifactsUnusable(f"The compiled engine in {directory} {what}. Make it with: {COMMAND} {directory}")
