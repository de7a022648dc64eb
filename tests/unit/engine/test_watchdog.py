"""Time: the ticking thread and the budget it enforces."""

import threading
import time

from fastn.engine.watchdog import Budget, Watchdog

PATIENCE_SECONDS = 5


def test_the_epoch_moves_while_a_guest_runs_and_stands_still_after() -> None:
    ticked = threading.Event()
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(time.monotonic())
        if len(ticks) >= 3:
            ticked.set()

    with Watchdog(tick):
        assert ticked.wait(PATIENCE_SECONDS)

    still = threading.Event()
    seen = len(ticks)
    still.wait(0.1)
    assert len(ticks) <= seen + 1


def test_the_thread_wakes_again_after_it_slept() -> None:
    ticked = threading.Event()
    watchdog = Watchdog(ticked.set)

    for _ in range(2):
        ticked.clear()
        with watchdog:
            assert ticked.wait(PATIENCE_SECONDS)
        threading.Event().wait(0.35)


def test_a_budget_counts_processor_time_only_while_entered() -> None:
    budget = Budget(wall_ms=60_000, cpu_ms=30)

    def burn(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    burn(0.05)
    assert not budget.is_spent()

    budget.enter()
    burn(0.02)
    budget.leave()
    assert 0 < budget.cpu_left_ms <= 10

    budget.enter()
    burn(0.02)
    assert budget.is_spent()
    budget.leave()


def test_a_budget_is_spent_when_its_wall_time_is_over() -> None:
    assert Budget(wall_ms=0, cpu_ms=1_000).is_spent()
    assert not Budget(wall_ms=60_000, cpu_ms=1_000).is_spent()
