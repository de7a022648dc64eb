"""Launching runs: Standard and Long as Step Functions executions, Instant by an asynchronous invocation."""

import json
from types import MappingProxyType
from typing import TYPE_CHECKING

from fastn.executions.models import RunReference
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Setting
from fastn.workflows.models import Tier

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_stepfunctions import SFNClient


MACHINE_OF_TIER = MappingProxyType(
    {Tier.STANDARD: Setting.STANDARD_STATE_MACHINE_ARN, Tier.LONG: Setting.LONG_STATE_MACHINE_ARN}
)


class Launcher:
    """Starts what has been committed. Never waits for a run."""

    def __init__(self, platform: Platform) -> None:
        """Needs WORKFLOW_RUNS for Standard and Long runs, INSTANT_RUNS for Instant ones."""
        self._platform = platform

    def launch(self, reference: RunReference, tier: Tier) -> None:
        """Starts this launch of the run. Launching it again does nothing for a Standard or Long run: its name,
        `{execution}-{launch}`, is taken. An Instant run may begin twice; its journal lets one go on.
        """
        if tier is Tier.INSTANT:
            self._invoke(reference)
        else:
            self._start(reference, tier)

    def _start(self, reference: RunReference, tier: Tier) -> None:
        machines: SFNClient = self._platform.client(Need.WORKFLOW_RUNS)
        try:
            machines.start_execution(
                stateMachineArn=self._platform.settings[MACHINE_OF_TIER[tier]],
                name=f"{reference.execution_id}-{reference.launch}",
                input=json.dumps(reference.as_text()),
            )
        except machines.exceptions.ExecutionAlreadyExists:
            return

    def _invoke(self, reference: RunReference) -> None:
        functions: LambdaClient = self._platform.client(Need.INSTANT_RUNS)
        functions.invoke(
            FunctionName=self._platform.settings[Setting.INSTANT_FUNCTION_NAME],
            InvocationType="Event",
            Payload=json.dumps(reference.as_text()),
        )
