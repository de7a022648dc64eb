"""What every run of a process stands on: the compiled guest, and its memory as the prelude leaves it."""

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from fastn.engine.errors import EngineBuildMismatch, RunImageUnusable
from fastn.engine.guest import Guest, GuestHost, Sandbox
from fastn.engine.images import PAGE_BYTES, RunImage, changed_blocks
from fastn.engine.models import BuildId, MemoryImage
from fastn.engine.watchdog import Budget

if TYPE_CHECKING:
    from fastn.engine.artifacts import EngineArtifacts, PreludeImage

# What a guest instance needs besides its JavaScript heap: its data, its stack, the allocator's slack.
GUEST_OVERHEAD_BYTES = 8 * 1024 * 1024


class Foundation:
    """Makes guests that have run the prelude, and tells what a run has changed in one."""

    def __init__(self, artifacts: "EngineArtifacts", sandbox: Sandbox) -> None:
        self._artifacts = artifacts
        self._sandbox = sandbox

    @property
    def build_id(self) -> BuildId:
        """The engine build of every guest made here."""
        return self._artifacts.build_id

    @property
    def prelude(self) -> "PreludeImage":
        """The prelude's image, with the handles of the functions the host calls."""
        return self._artifacts.prelude

    @cached_property
    def prelude_sha256(self) -> str:
        """The digest of the memory every image is a difference to."""
        return hashlib.sha256(self.prelude.to_bytes()).hexdigest()

    def new_guest(self, host: GuestHost, budget: Budget, *, heap_bytes: int) -> Guest:
        """A guest in which the prelude has run."""
        memory_bytes = heap_bytes + GUEST_OVERHEAD_BYTES
        guest = Guest(self._sandbox, self._artifacts.guest, host, budget=budget, memory_bytes=memory_bytes)
        guest.restore(self.prelude.memory)
        return guest

    def difference(self, guest: Guest) -> MemoryImage:
        """What the guest's memory holds beyond the prelude's; it must be between two calls.

        What lies below the stack pointer then is dead: left out, it makes no image larger, nor two runs unequal.
        """
        stack_pointer = guest.stack_pointer()
        first = stack_pointer // PAGE_BYTES * PAGE_BYTES
        memory = guest.read_bytes(first, guest.size_bytes - first)
        chunks = changed_blocks(self._fresh_memory[first:], memory, first_offset=first)
        return MemoryImage(guest.size_bytes, stack_pointer, chunks)

    def check(self, image: RunImage) -> None:
        """Raises EngineBuildMismatch if the image is not a difference to this foundation's memory."""
        if (image.build_id, image.prelude_sha256) != (self.build_id, self.prelude_sha256):
            raise EngineBuildMismatch("The image of the run was taken on another build of the engine.")

    def restore(self, guest: Guest, image: MemoryImage) -> None:
        """Make a new guest the one the image was taken of. Raises RunImageUnusable if it does not fit."""
        import wasmtime

        try:
            guest.restore(image)
        except (IndexError, wasmtime.WasmtimeError) as error:
            raise RunImageUnusable("The image of the run does not fit into its memory.") from error

    @cached_property
    def _fresh_memory(self) -> bytes:
        guest = self.new_guest(_SilentHost(), Budget(wall_ms=0, cpu_ms=0), heap_bytes=0)
        try:
            return guest.memory_bytes()
        finally:
            guest.close()


class _SilentHost:
    """The host of a guest whose code never runs."""

    max_message_bytes = 0

    def take_message(self, message: str) -> bool:  # noqa: ARG002 (nothing runs, so nothing is said or asked)
        return False

    def refuse_message(self, length_bytes: int) -> None:  # noqa: ARG002 (as above)
        return None

    def resolve_module(self, base: str, specifier: str) -> str | None:  # noqa: ARG002 (as above)
        return None

    def module_source(self, name: str) -> str | None:  # noqa: ARG002 (as above)
        return None

    def now_ms(self) -> int:
        return 0

    def draw_random(self, length: int) -> bytes:
        return bytes(length)
