"""The processor time of invocations is summed per function."""

import time
from pathlib import Path

from fastn.local.cpu_log import CpuLog, cpu_ms_per_function


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_invocations_are_summed_per_function_without_their_imports(tmp_path: Path) -> None:
    path = tmp_path / "cpu.jsonl"
    log = CpuLog(str(path), "busy")
    burn(0.1)
    log.record("init", "")
    for _ in range(2):
        log.start()
        burn(0.03)
        log.record("invoke", "r")
    idle = CpuLog(str(path), "idle")
    idle.record("invoke", "r")

    totals = cpu_ms_per_function(path)

    assert 55 <= totals["busy"] <= 95
    assert totals["idle"] < 5


def test_nothing_is_recorded_without_a_path(tmp_path: Path) -> None:
    CpuLog(None, "any").record("invoke", "r")

    assert cpu_ms_per_function(tmp_path / "absent") == {}
