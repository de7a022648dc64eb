"""cdk-nag and cfn-lint over the templates, and the proof that cdk-nag would speak up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_sqs as sqs

from infra_cdk.checks import acknowledge, validate_with_cdk_nag
from tests.infra.cloud_assembly import Assembly

DEPENDENCY_THE_CDK_REPEATS = "W3005"
"""The CDK writes DependsOn for a function's role beside the reference that implies it."""


def app_with_an_open_queue(directory: Path) -> tuple[App, sqs.Queue]:
    app = App(outdir=str(directory), analytics_reporting=False)
    return app, sqs.Queue(Stack(app, "Open"), "Queue")


def test_a_finding_that_nobody_acknowledged_stops_synthesis(tmp_path: Path) -> None:
    app, _queue = app_with_an_open_queue(tmp_path)
    validate_with_cdk_nag(app)

    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()


def test_an_acknowledged_finding_does_not(tmp_path: Path) -> None:
    app, queue = app_with_an_open_queue(tmp_path)
    acknowledge(queue, "SQS3", "it is the example of a queue")
    acknowledge(queue, "SQS4", "it is the example of a queue")
    validate_with_cdk_nag(app)

    assert app.synth().stacks[0].stack_name == "Open"


def test_the_installation_passes(on_aws: Assembly) -> None:
    report = json.loads((on_aws.directory / "validation-report.json").read_text(encoding="utf-8"))

    conclusions = {plugin["pluginName"]: plugin["conclusion"] for plugin in report["pluginReports"]}
    assert conclusions["AwsSolutions"] == "success"


def test_cfn_lint_finds_nothing(on_aws: Assembly) -> None:
    templates = sorted(str(file) for file in on_aws.directory.glob("*.template.json"))
    command = [
        str(Path(sys.executable).with_name("cfn-lint")),
        "--ignore-checks",
        DEPENDENCY_THE_CDK_REPEATS,
        "--",
        *templates,
    ]

    found = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
