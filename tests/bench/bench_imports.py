"""What a cold start pays in CPU before it reads the request: `python -m tests.bench.bench_imports`.

The baseline imports what every endpoint needs from elsewhere: pydantic (its BaseModel, fields and types: the package
itself loads nothing before it is asked for), psycopg, and Powertools with its Logger;
each endpoint is measured against a baseline run of its own, taken right before it, as the machine's speed drifts.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fastn.http.registry import load_registry
from tests.bench.figures import Figure

BASELINE = ("pydantic.main", "pydantic.fields", "pydantic.types", "psycopg", "aws_lambda_powertools")
RUNS = 5

_PROBE = """
import importlib, sys, time
sys.path[:0] = sys.argv[1].split(":")
started = time.process_time()
for name in sys.argv[2:]:
    importlib.import_module(name)
print((time.process_time() - started) * 1000)
"""


def measure_imports(checkout: Path) -> list[Figure]:
    """The import CPU in milliseconds of the heaviest endpoint and of the health check, as medians of pairs."""
    heaviest = _heaviest_endpoint(checkout)
    return [
        _measure(checkout, "import_cpu_ms_heaviest_endpoint", heaviest),
        _measure(checkout, "import_cpu_ms_health_check", "functions.api.health.get_health"),
    ]


def _measure(checkout: Path, name: str, module: str) -> Figure:
    pairs = [(_import_cpu_ms(checkout, BASELINE), _import_cpu_ms(checkout, [module])) for _ in range(RUNS)]
    return Figure(
        name=name,
        value=round(statistics.median(endpoint for _, endpoint in pairs), 1),
        unit="ms",
        baseline=round(statistics.median(baseline for baseline, _ in pairs), 1),
        ratio=round(statistics.median(endpoint / baseline for baseline, endpoint in pairs), 2),
    )


def _heaviest_endpoint(checkout: Path) -> str:
    modules = [function.module for function, _ in load_registry(checkout).endpoints()]
    return max(modules, key=lambda module: _import_cpu_ms(checkout, [module]))


def _import_cpu_ms(checkout: Path, modules: Sequence[str]) -> float:
    # A fresh interpreter each time; the byte code is warm, as it is in a packed layer.
    search_path = f"{checkout / 'shared'}:{checkout}"
    outcome = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE, search_path, *modules], capture_output=True, text=True, check=True, env={}
    )
    return float(outcome.stdout)


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps([one.as_json() for one in measure_imports(Path(__file__).parents[2])])}\n")
