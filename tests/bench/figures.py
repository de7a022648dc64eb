"""One measured number, beside the number it should be read against."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and, where there is one, the baseline of the same run and their ratio."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None

    def as_json(self) -> dict[str, object]:
        """The object `build/bench.json` lists."""
        return asdict(self)


def figure(name: str, value: float, unit: str, *, baseline: float | None = None) -> Figure:
    """A figure with its ratio to the baseline."""
    ratio = round(value / baseline, 4) if baseline else None
    return Figure(name, round(value, 3), unit, None if baseline is None else round(baseline, 3), ratio)


def percentiles(values: Sequence[float], name: str, unit: str) -> list[Figure]:
    """p50, p95 and p99 of the values."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return [figure(f"{name}_p{percent}", cuts[percent - 1], unit) for percent in (50, 95, 99)]
