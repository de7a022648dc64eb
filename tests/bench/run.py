"""Measures everything in one run and writes `build/bench.json`: `python -m tests.bench.run`."""

import json
import sys
from pathlib import Path

import click

from fastn.local.demo.performance import SLACK_HOST
from fastn.local.installation import Installation
from fastn.local.supervisor import CPU_LOG_NAME
from fastn.local.vendors.slack import SlackSettings, SlackVendor
from tests.bench.bench_imports import measure_imports
from tests.bench.engine import measure_engine
from tests.bench.figures import Figure
from tests.bench.pipeline import PipelineBench
from tests.load.scene import set_scene

CHECKOUT = Path(__file__).parents[2]
VENDOR_LATENCY_MS = 5.0


def main() -> int:
    """Runs every bench, prints a table and writes the file."""
    figures = [*measure_engine(CHECKOUT / "build" / "engine"), *measure_imports(CHECKOUT), *_measure_pipeline()]
    target = CHECKOUT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([one.as_json() for one in figures], indent=2) + "\n", "utf-8")
    for one in figures:
        beside = f"   baseline {one.baseline} {one.unit}, ratio {one.ratio}" if one.baseline is not None else ""
        click.echo(f"{one.name:<58} {one.value:>12} {one.unit}{beside}")
    click.echo(f"written to {target.relative_to(CHECKOUT)}")
    return 0


def _measure_pipeline() -> list[Figure]:
    settings = SlackSettings(latency_ms=VENDOR_LATENCY_MS)
    with SlackVendor(settings) as slack:
        installation = Installation(
            CHECKOUT,
            records_cpu=True,
            loopback_routes={SLACK_HOST: slack.port},
            report=lambda line: click.echo(line, err=True),
            state_directory=CHECKOUT / "build" / "bench-state",
            resets=True,
        )
        runtime = installation.runtime()
        with runtime as endpoints:
            platform = installation.platform(endpoints)
            bench = PipelineBench(
                runtime,
                platform,
                set_scene(platform, endpoints.api_url),
                endpoints.database.owner_url,
                endpoints.aws_endpoint_url,
                endpoints.log_directory / CPU_LOG_NAME,
            )
            return bench.measure()


if __name__ == "__main__":
    sys.exit(main())
