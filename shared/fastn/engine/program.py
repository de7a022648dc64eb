"""Turns source text into a `Program`: types stripped, parsed, linked and checked without running any of it.

The guest's own module parser reads the source as it stands, so every form of `export default` is what the
language says it is, and positions are the source's own.
"""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fastn.engine.errors import GuestStopped, GuestThrew, ProgramInvalid
from fastn.engine.guest import Guest, Sandbox, WasmInstance, fault_of_thrown
from fastn.engine.languages import Language
from fastn.engine.models import EngineFault, Program
from fastn.engine.rules import INNER_MODULE_PREFIX, PROGRAM_MODULE, SDK_PREFIX, program_line
from fastn.engine.watchdog import Budget

if TYPE_CHECKING:
    import wasmtime

    from fastn.engine.artifacts import EngineArtifacts

MAX_SOURCE_BYTES = 1024 * 1024
COMPILE_TIME_MS = 5_000
COMPILE_MEMORY_BYTES = 192 * 1024 * 1024
COMPILE_HEAP_BYTES = 96 * 1024 * 1024
RUNTIME_MODULE = "fastn:prelude/runtime.js"
ENTRY_MODULE = "fastn:entry"
STOP_MODULE = "fastn:stop"
REFUSED_PREFIX = "fastn:refused/"
ENTRY_SOURCE = f'import {{ begin }} from "{RUNTIME_MODULE}"; import main from "{PROGRAM_MODULE}"; begin(main);'
# Modules are evaluated in the order they are imported: the first one throws, so the program is parsed and
# linked and never evaluated.
CHECK_SOURCE = f'import "{STOP_MODULE}"; import main from "{PROGRAM_MODULE}";'
# Beside the prelude, not in it: only programs that import it pay for it.
WORKFLOW_SPECIFIER = SDK_PREFIX + "workflow"
WORKFLOW_MODULE = INNER_MODULE_PREFIX + "sdk/workflow.js"
WORKFLOW_FILE = Path(__file__).with_name("sdk") / "workflow.js"
SDK_SOURCE = f'export {{ Fastn, fastn, Fastn as default }} from "{RUNTIME_MODULE}";'
NO_DEFAULT_EXPORT = "The program has no default export. Export the workflow: export default async function (ctx) { … }"
_MISSING_EXPORT = re.compile(r"Could not find export '(.*)' in module '(.*)'", re.DOTALL)

# Flags and statuses of `_transform.wasm` in quickjs-rs 0.2.6.
STRIP_FLAGS = 1 << 0 | 1 << 8  # the source is TypeScript; take the types out
TRANSFORMED, UNCHANGED = 0, 1
# Not a character of any token: a parser that gets this far reports it and nothing else.
PROBE = "\u0001"


class ModuleGate:
    """Which modules a program may name: its own, the SDK's, and nothing else."""

    def __init__(self, program_source: str) -> None:
        self.refused: list[str] = []
        self._program_source = program_source

    def resolve_module(self, base: str, specifier: str) -> str | None:
        """The full name of an import. What may not be imported gets a module that says so when evaluated."""
        if base == ENTRY_MODULE and specifier in (PROGRAM_MODULE, RUNTIME_MODULE, STOP_MODULE):
            return specifier
        if (base.startswith(SDK_PREFIX) or base == WORKFLOW_MODULE) and specifier == RUNTIME_MODULE:
            return specifier
        if specifier == WORKFLOW_SPECIFIER and base == PROGRAM_MODULE:
            return WORKFLOW_MODULE
        if specifier.startswith(SDK_PREFIX) and base == PROGRAM_MODULE:
            return specifier
        self.refused.append(specifier)
        return REFUSED_PREFIX + specifier

    def module_source(self, name: str) -> str | None:
        """The source of a resolved module; None for a name that was never resolved to."""
        if name == PROGRAM_MODULE:
            return self._program_source
        if name == WORKFLOW_MODULE:
            return WORKFLOW_FILE.read_text(encoding="utf-8")
        if name.startswith(SDK_PREFIX):
            return SDK_SOURCE
        if name == STOP_MODULE:
            return "throw undefined;"
        if name.startswith(REFUSED_PREFIX):
            return "throw new TypeError('Imports are not available here: only @fastn/ can be imported.');"
        return None


class _CheckHost(ModuleGate):
    """The host of a program that is only looked at."""

    max_message_bytes = 0

    def take_message(self, message: str) -> bool:  # noqa: ARG002 (nothing runs, so nothing may be said)
        return False

    def refuse_message(self, length_bytes: int) -> None:  # noqa: ARG002 (as above)
        return None

    def now_ms(self) -> int:
        return 0

    def draw_random(self, length: int) -> bytes:
        return bytes(length)


def _compile_budget() -> Budget:
    return Budget(wall_ms=COMPILE_TIME_MS, cpu_ms=COMPILE_TIME_MS)


class _Transformer(WasmInstance):
    """One instance of the OXC transform (exports `qjst_*`)."""

    def __init__(self, sandbox: Sandbox, module: "wasmtime.Module") -> None:
        super().__init__(sandbox, module, _compile_budget(), memory_bytes=COMPILE_MEMORY_BYTES)

    def transform(self, source: str, flags: int) -> tuple[str | None, str]:
        """The stripped source and "", or None and the parser's message. Raises GuestStopped."""
        content, name = source.encode(), b"workflow"
        name_at = self.call("qjst_alloc", len(name))
        content_at = self.call("qjst_alloc", max(1, len(content)))
        self.write_bytes(name_at, name)
        if content:
            self.write_bytes(content_at, content)
        status = self.call("qjst_transform", name_at, len(name), content_at, len(content), flags)
        kind = "result" if status == TRANSFORMED else "error"
        length = self.call(f"qjst_{kind}_len")
        text = self.read_bytes(self.call(f"qjst_{kind}_ptr"), length).decode(errors="replace") if length else ""
        self.call("qjst_free", name_at, len(name))
        self.call("qjst_free", content_at, max(1, len(content)))
        self.call("qjst_result_free")
        if status == UNCHANGED:
            return source, ""
        return (text, "") if status == TRANSFORMED else (None, text)


class ProgramCompiler:
    """Compiles programs; each compilation has instances of its own."""

    def __init__(self, artifacts: "EngineArtifacts", sandbox: Sandbox) -> None:
        self._artifacts = artifacts
        self._sandbox = sandbox

    def compile(self, source: str, language: Language) -> Program:
        """The checked program. Raises ProgramInvalid."""
        try:
            encoded = source.encode()
        except UnicodeEncodeError as error:
            raise ProgramInvalid("The program is not valid Unicode text.") from error
        if len(encoded) > MAX_SOURCE_BYTES:
            raise ProgramInvalid(f"The program is larger than {MAX_SOURCE_BYTES} bytes.")
        try:
            javascript = self._strip_types(source) if language is Language.TYPESCRIPT else source
            self._check(javascript, source, language)
        except GuestStopped as stopped:
            raise ProgramInvalid(_too_much(stopped.fault)) from stopped
        return Program(source, language, javascript, hashlib.sha256(encoded).hexdigest())

    def _strip_types(self, source: str) -> str:
        transformer = _Transformer(self._sandbox, self._artifacts.transform)
        try:
            with transformer.entered():
                javascript, message = transformer.transform(source, STRIP_FLAGS)
        finally:
            transformer.close()
        if javascript is None:
            line, column = self._locate(source)
            raise ProgramInvalid(_parser_words(message), line=line, column=column)
        return javascript

    def _check(self, javascript: str, source: str, language: Language) -> None:
        host = _CheckHost(javascript)
        guest = Guest(
            self._sandbox,
            self._artifacts.guest,
            host,
            budget=_compile_budget(),
            memory_bytes=COMPILE_MEMORY_BYTES,
        )
        try:
            with guest.entered():
                guest.restore(self._artifacts.prelude.memory)
                guest.set_heap_limit(COMPILE_HEAP_BYTES)
                guest.evaluate_module(ENTRY_MODULE, CHECK_SOURCE)
        except GuestThrew as threw:
            raise self._explain(threw, host, source, language) from threw
        finally:
            guest.close()
        if host.refused:
            raise _refused_import(host.refused[0], source)

    def _explain(self, threw: GuestThrew, host: _CheckHost, source: str, language: Language) -> ProgramInvalid:
        fault = fault_of_thrown(threw.name, threw.message)
        if fault is not EngineFault.SCRIPT_ERROR:
            return ProgramInvalid(_too_much(fault))
        if host.refused:
            return _refused_import(host.refused[0], source)
        missing = _MISSING_EXPORT.search(threw.message)
        if missing is not None:
            name, module = missing.groups()
            own = module == PROGRAM_MODULE
            shown = WORKFLOW_SPECIFIER if module == WORKFLOW_MODULE else module
            return ProgramInvalid(NO_DEFAULT_EXPORT if own else f"'{shown}' has no export '{name}'.")
        line, column = self._locate(source)
        reported = program_line(threw.stack)
        if language is Language.JAVASCRIPT and reported is not None and reported != line:
            line, column = reported, None
        return ProgramInvalid(f"{threw.name}: {threw.message}", line=line, column=column)

    def _locate(self, source: str) -> tuple[int | None, int | None]:
        """Where the parser stops, from 1; (None, None) when only the other parser refuses the source.

        Neither parser tells the column, and OXC not even the line. But it reads no further than its first
        error: cut the source somewhere, append a character no token has, and that character is what gets
        reported unless the error lies before the cut. So the earliest cut that still gives the error is it.
        """
        transformer = _Transformer(self._sandbox, self._artifacts.transform)
        try:
            with transformer.entered():
                text, message = transformer.transform(source, STRIP_FLAGS)
                if text is not None:
                    return None, None
                low, high = 0, len(source)
                while low < high:
                    middle = (low + high) // 2
                    _, at_middle = transformer.transform(source[:middle] + PROBE, STRIP_FLAGS)
                    low, high = (low, middle) if at_middle == message else (middle + 1, high)
        except GuestStopped:
            return None, None
        finally:
            transformer.close()
        offset = max(0, low - 1)
        line_start = source.rfind("\n", 0, offset) + 1
        return source.count("\n", 0, offset) + 1, offset - line_start + 1


def _parser_words(message: str) -> str:
    return "SyntaxError: " + message.rpartition("workflow: ")[2]


def _refused_import(specifier: str, source: str) -> ProgramInvalid:
    line = None
    quoted = re.findall(rf"[\"']{re.escape(specifier)}[\"']", source)
    if len(quoted) == 1:
        line = source.count("\n", 0, source.index(quoted[0])) + 1
    shown = "a module of the platform" if specifier.startswith(INNER_MODULE_PREFIX) else f"'{specifier}'"
    return ProgramInvalid(
        f"The program cannot import {shown}: a workflow is one file, and only {SDK_PREFIX}… can be imported.",
        line=line,
    )


def _too_much(fault: EngineFault) -> str:
    if fault is EngineFault.STACK_OVERFLOW:
        return "The program is nested too deeply to be parsed."
    return "The program takes too much time or memory to be parsed."
