"""The `fastn` command: `dev` runs the platform here, `demo` sends an event through it, `run` runs one workflow."""

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from fastn.cli.run import run
from fastn.local.demo.api import CallFailed
from fastn.local.demo.hops import NeverArrived
from fastn.local.demo.performance import SLACK_HOST, Performance, perform, show
from fastn.local.errors import LocalRuntimeError
from fastn.local.installation import Installation
from fastn.local.supervisor import Endpoints
from fastn.local.vendors.slack import SlackVendor

Report = Callable[[str], None]


state_option = click.option(
    "--state-directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where data and logs lie; .fastn/ in the checkout unless given.",
)


@click.group()
def main() -> None:
    """Fastn: an open, self-hosted embedded integration platform."""


@main.command()
@click.option("--reset", is_flag=True, help="Wipe the data first: every organization, run and log.")
@state_option
def dev(reset: bool, state_directory: Path | None) -> None:
    """Run the platform on this machine until Ctrl-C."""
    installation = Installation(_checkout(), resets=reset, report=click.echo, state_directory=state_directory)
    _guarded(lambda: _serve(installation))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--keep-serving", is_flag=True, help="Go on serving until Ctrl-C.")
@click.option("--reset", is_flag=True, help="Wipe the data first: every organization, run and log.")
@state_option
def demo(as_json: bool, keep_serving: bool, reset: bool, state_directory: Path | None) -> None:
    """Send a real GitHub delivery through the whole pipeline and show every hop."""
    report: Report = _silent if as_json else click.echo
    installation = Installation(_checkout(), resets=reset, report=report, state_directory=state_directory)
    _guarded(lambda: _demonstrate(installation, as_json=as_json, keep_serving=keep_serving))


main.add_command(run)


def _serve(installation: Installation) -> None:
    with installation.runtime() as endpoints:
        _until_interrupted(endpoints, click.echo)


def _demonstrate(installation: Installation, *, as_json: bool, keep_serving: bool) -> None:
    with SlackVendor() as slack, _with_slack(installation, slack).runtime() as endpoints:
        performance = perform(installation, endpoints, slack, installation.report)
        if as_json:
            click.echo(performance.as_json())
        else:
            show(performance, endpoints, click.echo)
        if keep_serving:
            _until_interrupted(endpoints, installation.report)
    _exit_with(performance)


def _with_slack(installation: Installation, slack: SlackVendor) -> Installation:
    return replace(installation, loopback_routes={SLACK_HOST: slack.port})


def _exit_with(performance: Performance) -> None:
    if not performance.is_ok:
        click.echo("The run did not complete with exactly one vendor call: see the trace above.", err=True)
        sys.exit(1)


def _until_interrupted(endpoints: Endpoints, report: Report) -> None:
    report("")
    report(f"serving  {endpoints.api_url}/api/v1  (AWS emulator {endpoints.aws_endpoint_url},")
    report(f"         PostgreSQL {endpoints.database.host}:{endpoints.database.port}, logs {endpoints.log_directory})")
    report("Ctrl-C stops everything; the data stays in .fastn/")
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda _number, _frame: stopped.set())
    stopped.wait()
    report("stopping")


def _guarded(work: Callable[[], None]) -> None:
    try:
        work()
    except (LocalRuntimeError, CallFailed, NeverArrived) as error:
        click.echo(f"fastn: {error}", err=True)
        click.echo("If this persists, start afresh with `fastn dev --reset`; logs are in .fastn/logs.", err=True)
        sys.exit(1)


def _checkout() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "cdk.json").is_file() and (folder / "functions").is_dir():
            return folder
    raise click.ClickException("run fastn inside a checkout of the project (no cdk.json and functions/ found here)")


def _silent(_line: str) -> None:
    """Takes the progress lines that --json keeps from standard output."""


if __name__ == "__main__":
    main()
