"""The embedded runtime in a process of its own, to be killed: `python -m tests.soak.serve STATE SLACK_PORT`.

Writes STATE/serving.json when it serves, then waits until it is ended.
"""

import json
import sys
import threading
from pathlib import Path

import click

from fastn.local.demo.performance import SLACK_HOST
from fastn.local.installation import Installation

CHECKOUT = Path(__file__).parents[2]


def main(state: str, slack_port: str) -> None:
    """Serves until killed."""
    installation = Installation(
        CHECKOUT,
        loopback_routes={SLACK_HOST: int(slack_port)},
        report=lambda line: click.echo(line, err=True),
        state_directory=Path(state),
    )
    with installation.runtime() as endpoints:
        told = {
            "api_url": endpoints.api_url,
            "owner_url": endpoints.database.owner_url,
            "aws_endpoint_url": endpoints.aws_endpoint_url,
            "outputs": dict(endpoints.outputs),
        }
        (Path(state) / "serving.new").write_text(json.dumps(told), "utf-8")
        (Path(state) / "serving.new").rename(Path(state) / "serving.json")
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
