"""Ties a child process to its parent, so that killing the supervisor leaves nothing running.

Linux only does this for us (prctl(2)); elsewhere a child is stopped with its process group alone.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent_pid: int, death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `death_signal` to this process once `parent_pid` is gone.

    Call it in the child, after any change of user: a change of credentials clears the setting. It is bound
    to the parent's *thread*, so the thread that starts children has to live as long as they should.
    """
    if not sys.platform.startswith("linux"):
        return
    _prctl(PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent_pid:  # the parent died before the setting took effect
        os.kill(os.getpid(), death_signal)


def bound_to_this_process(death_signal: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """A `preexec_fn` for subprocess that binds the child to the calling process."""
    parent_pid = os.getpid()

    def bind() -> None:
        die_with_parent(parent_pid, death_signal)

    return bind


def adopt_orphans() -> None:
    """Become the parent of every orphaned descendant, so that none of them escapes into init's care."""
    if sys.platform.startswith("linux"):
        _prctl(PR_SET_CHILD_SUBREAPER, 1)


def children_of(pid: int) -> list[int]:
    """The direct children of a process; empty where the kernel does not list them."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.extend(int(child) for child in children.read_text(encoding="ascii").split())
        except OSError:
            continue
    return found


def kill_group(group_id: int, *others: int) -> None:
    """SIGKILL a process group and further single processes; those already gone are skipped."""
    _signal_each([group_id], os.killpg)
    _signal_each(others, os.kill)


def _signal_each(pids: Iterable[int], send: Callable[[int, int], None]) -> None:
    for pid in pids:
        try:
            send(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _prctl(option: int, argument: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, argument, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
