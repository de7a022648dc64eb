"""The state machines of Standard and Long runs, from `statemachines/`."""

from pathlib import Path

from aws_cdk import Aws, CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from infra_cdk.checks import acknowledge
from infra_cdk.names import (
    FAILURE_RECORDER,
    SEGMENT_EXECUTOR,
    Machine,
    function_arn,
    machine_arn,
    machine_name,
)
from infra_cdk.roles import service_role


class RunMachine(Construct):
    """One state machine. It calls the two tasks that its definition names, and nothing else."""

    def __init__(self, scope: Construct, machine: Machine, *, root: Path, installation: str) -> None:
        super().__init__(scope, f"{machine.value.capitalize()}Runs")
        tasks = {
            "RunSegment": function_arn(installation, SEGMENT_EXECUTOR),
            "FailExecution": function_arn(installation, FAILURE_RECORDER),
        }
        definition = (root / "statemachines" / f"{machine}.asl.json").read_text(encoding="utf-8")
        self._machine = stepfunctions.CfnStateMachine(
            self,
            "Machine",
            state_machine_name=machine_name(installation, machine),
            state_machine_type="STANDARD",
            definition_string=definition,
            definition_substitutions=tasks,
            role_arn=self._role(list(tasks.values()), machine_arn(installation, machine)).role_arn,
            tracing_configuration=stepfunctions.CfnStateMachine.TracingConfigurationProperty(enabled=True),
        )
        acknowledge(
            self._machine,
            "SF1",
            "Step Functions keeps each run's history for 90 days; the product's own trace is in the database.",
        )
        CfnOutput(Stack.of(self), f"{machine.value.capitalize()}StateMachineArn", value=self._machine.ref)

    def _role(self, task_arns: list[str], own_arn: str) -> iam.Role:
        statements = [
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=task_arns),
            # X-Ray has no resources to name.
            iam.PolicyStatement(
                actions=[
                    "xray:PutTraceSegments",
                    "xray:PutTelemetryRecords",
                    "xray:GetSamplingRules",
                    "xray:GetSamplingTargets",
                ],
                resources=["*"],
            ),
        ]
        # Only this machine may take the role (the confused-deputy conditions of the Step Functions guide).
        conditions = {
            "ArnEquals": {"aws:SourceArn": own_arn},
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
        }
        role = service_role(self, "Role", service="states.amazonaws.com", statements=statements, conditions=conditions)
        acknowledge(role, "IAM5[Resource::*]", "X-Ray has no resources to name.")
        return role
