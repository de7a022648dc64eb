"""`python -m fastn.engine.precompile OUTPUT_DIR [--target TRIPLE]`: compile the engine ahead of time.

Writes both wasm modules as machine code, the prelude's image and a manifest. The modules are compiled for
the baseline of the target, not for the machine at hand. wasmtime-py's wheels carry the compiler of their own
architecture only: for another one, run this on it.
"""

import argparse
import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from fastn.engine.artifacts import (
    GUEST,
    IMAGE,
    MANIFEST,
    PRELUDE_PREFIX,
    TRANSFORM,
    PreludeImage,
    artifact_path,
    build_id,
    machine_target,
    new_wasm_engine,
    prelude_sources,
    wasm_bytes,
)
from fastn.engine.guest import Guest, Sandbox
from fastn.engine.images import changed_blocks
from fastn.engine.models import BuildId, MemoryImage
from fastn.engine.watchdog import Budget

if TYPE_CHECKING:
    import wasmtime

BUILD_TIME_MS = 60_000
BUILD_MEMORY_BYTES = 64 * 1024 * 1024
HOST_FUNCTION = "$fastnHost"


class _PreludeHost:
    """Serves the prelude's own modules, at a fixed time and with fixed randomness: builds are reproducible."""

    max_message_bytes = 0

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources

    def take_message(self, message: str) -> bool:  # noqa: ARG002 (the prelude sends nothing while it loads)
        return False

    def refuse_message(self, length_bytes: int) -> None:  # noqa: ARG002 (as above)
        return None

    def resolve_module(self, base: str, specifier: str) -> str | None:  # noqa: ARG002 (names are absolute)
        return specifier if specifier in self._sources else None

    def module_source(self, name: str) -> str | None:
        return self._sources.get(name)

    def now_ms(self) -> int:
        return 0

    def draw_random(self, length: int) -> bytes:
        return bytes(length)


def record_prelude(engine: "wasmtime.Engine", module: "wasmtime.Module") -> PreludeImage:
    """Run the prelude once and keep the memory it leaves, as its difference from a fresh instance."""
    sandbox, host = Sandbox(engine), _PreludeHost(prelude_sources())

    def fresh() -> Guest:
        budget = Budget(wall_ms=BUILD_TIME_MS, cpu_ms=BUILD_TIME_MS)
        return Guest(sandbox, module, host, budget=budget, memory_bytes=BUILD_MEMORY_BYTES)

    untouched, guest = fresh(), fresh()
    with guest.entered():
        guest.define_host_function(HOST_FUNCTION)
        name = PRELUDE_PREFIX + "runtime.js"
        namespace = guest.evaluate_module(name, prelude_sources()[name], awaiting=False)
        guest.run_jobs()
        handles = [guest.get_property(namespace, export) for export in ("configure", "watch", "settle")]
        guest.call("free_value", namespace)
        guest.call("run_gc")
        image = MemoryImage(
            len(guest.memory_bytes()),
            guest.stack_pointer(),
            changed_blocks(untouched.memory_bytes(), guest.memory_bytes()),
        )
    for instance in (untouched, guest):
        instance.close()
    return PreludeImage(image, *handles)


def precompile(directory: Path) -> BuildId:
    """Compile into `directory`, replacing an older build; the id of the build."""
    import wasmtime

    wasm = {name: wasm_bytes(name) for name in (GUEST, TRANSFORM)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in wasm.items()}
    version = metadata.version("wasmtime")
    build = build_id(hashes, version)
    engine = new_wasm_engine()
    modules = {name: wasmtime.Module(engine, content) for name, content in wasm.items()}
    contents = {name: bytes(module.serialize()) for name, module in modules.items()}
    contents[IMAGE] = record_prelude(engine, modules[GUEST]).to_bytes()
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        artifact_path(directory, name, build).write_bytes(content)
    manifest = {"build_id": build, "target": machine_target(), "wasmtime": version, "wasm_sha256": hashes}
    # Written last: a build is complete once its manifest names it.
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    keep = {artifact_path(directory, name, build) for name in contents} | {directory / MANIFEST}
    for stale in {*directory.glob("*.cwasm"), *directory.glob("*.image")} - keep:
        stale.unlink()
    return build


def main(arguments: list[str]) -> int:
    """The command line; 0 when the build is written."""
    parser = argparse.ArgumentParser(prog="python -m fastn.engine.precompile", description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUTPUT_DIR")
    parser.add_argument("--target", default=machine_target(), metavar="TRIPLE")
    options = parser.parse_args(arguments)
    if options.target != machine_target():
        parser.error(f"this machine compiles for {machine_target()} only; run the command on {options.target}")
    build = precompile(options.output)
    sys.stdout.write(f"{build}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
