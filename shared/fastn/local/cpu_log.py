"""What each invocation cost in processor time, as JSON lines: one counter per function for the benchmarks."""

import json
import os
import resource
import time
from collections import defaultdict
from pathlib import Path


class CpuLog:
    """Appends what each invocation cost to a JSON-lines file; a no-op without a path.

    `cpu_ms` is user plus system time of the process and of the children it waited for, in milliseconds.
    """

    def __init__(self, path: str | None, function_name: str) -> None:
        self._path = path
        self._function_name = function_name
        self._started_ms = _cpu_ms()

    def start(self) -> None:
        """Begin to measure."""
        self._started_ms = _cpu_ms()

    def record(self, kind: str, request_id: str) -> None:
        """Write one line: what was used since `start`. `kind` is "init" or "invoke"."""
        if self._path is None:
            return
        line = {
            "at": round(time.time(), 3),
            "function": self._function_name,
            "kind": kind,
            "requestId": request_id,
            "cpu_ms": round(_cpu_ms() - self._started_ms, 3),
        }
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")  # one write: lines of others never mix in
        finally:
            os.close(descriptor)


def cpu_ms_per_function(path: Path) -> dict[str, float]:
    """The sum of `cpu_ms` over all invocations of each function, without its imports; empty without a log."""
    totals: defaultdict[str, float] = defaultdict(float)
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["kind"] == "invoke":
                totals[entry["function"]] += entry["cpu_ms"]
    return dict(totals)


def _cpu_ms() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) * 1000
