"""One file of `functions/` as one Lambda: its own code, log group, role and environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from fastn.http.registry import RegisteredFunction
from fastn.platform.resources import Need, settings_of
from infra_cdk.bindings import Bindings, VpcPlacement
from infra_cdk.checks import acknowledge
from infra_cdk.configuration import RetentionDays
from infra_cdk.function_code import lambda_handler, stage_code
from infra_cdk.grants import statements_for
from infra_cdk.layers import LAMBDA_ARCHITECTURE, LayerShelf, architecture_of
from infra_cdk.names import function_arn, function_name, pascal_case
from infra_cdk.roles import service_role

DATABASE_NEEDS = frozenset({Need.DATABASE, Need.INGRESS_DATABASE, Need.RELAY_DATABASE, Need.TENANT_DATABASE})
NETWORK_INTERFACE_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)

RETENTION_OF_DAYS: Mapping[RetentionDays, logs.RetentionDays] = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


@dataclass(frozen=True, slots=True)
class FunctionFactory:
    """Makes Lambdas out of the functions registered below `root`, for one top-level stack."""

    root: Path
    staging: Path
    bindings: Bindings
    layers: LayerShelf | None

    def make(
        self, scope: Construct, function: RegisteredFunction, *, extra: Sequence[iam.PolicyStatement] = ()
    ) -> lambda_.IFunction:
        """The Lambda of this function; `extra` is what its way of being called asks of its role."""
        return PlatformFunction(scope, function, self, extra=extra).function


class PlatformFunction(Construct):
    """The Lambda of one registered function. Its role holds logs, traces and its declared needs, no more."""

    def __init__(
        self,
        scope: Construct,
        registered: RegisteredFunction,
        factory: FunctionFactory,
        *,
        extra: Sequence[iam.PolicyStatement] = (),
    ) -> None:
        super().__init__(scope, pascal_case(registered.name))
        bindings = factory.bindings
        declaration = registered.declaration
        name = function_name(bindings.configuration.stage, registered.name)
        placement = bindings.placement if declaration.needs & DATABASE_NEEDS else None
        log_group = self._log_group(name, bindings.configuration.log_retention_days)
        statements = [
            *self._runtime_statements(log_group, registered.name, bindings, placement),
            *statements_for(declaration.needs, bindings.grants),
            *extra,
        ]
        architecture = architecture_of(declaration.needs)
        code = stage_code(factory.root, factory.staging, registered)
        function = lambda_.Function(
            self,
            "Function",
            function_name=name,
            description=registered.declaration.summary.splitlines()[0][:256] if declaration.summary else None,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=LAMBDA_ARCHITECTURE[architecture],
            handler=lambda_handler(registered),
            code=lambda_.Code.from_asset(str(code)),
            layers=factory.layers.layers_for(declaration.needs) if factory.layers else None,
            memory_size=declaration.sizing.memory_mb,
            timeout=Duration.seconds(declaration.sizing.timeout_seconds),
            environment=bindings.environment(self, settings_of(declaration.needs)),
            role=self._role(statements),
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            vpc=placement.vpc if placement else None,
            vpc_subnets=placement.subnets if placement else None,
            security_groups=[placement.security_group] if placement else None,
        )
        # jsii's classes and interfaces differ in the names of parameters, which pyright minds.
        self.function = cast(lambda_.IFunction, function)

    def _log_group(self, name: str, retention_days: RetentionDays) -> logs.LogGroup:
        return logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/lambda/{name}",
            retention=RETENTION_OF_DAYS[retention_days],
            removal_policy=RemovalPolicy.DESTROY,
        )

    def _role(self, statements: Sequence[iam.PolicyStatement]) -> iam.IRole:
        # The policy is part of the role, so one resource says all a function may do; without_policy_updates
        # keeps the CDK from widening it when an event source or a destination is attached.
        role = service_role(self, "Role", service="lambda.amazonaws.com", statements=statements)
        acknowledge(role, "IAM5[Resource::*]", "X-Ray and Lambda's network interfaces have no resources to name.")
        return role.without_policy_updates()

    def _runtime_statements(
        self, log_group: logs.LogGroup, stem: str, bindings: Bindings, placement: VpcPlacement | None
    ) -> list[iam.PolicyStatement]:
        statements = [
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log_group.log_group_arn]
            ),
            # X-Ray has no resources to name.
            iam.PolicyStatement(actions=["xray:PutTraceSegments", "xray:PutTelemetryRecords"], resources=["*"]),
        ]
        if placement is None:
            return statements
        # Lambda itself makes the network interfaces, with this role; the function's code is denied it.
        own_arn = function_arn(bindings.configuration.stage, stem)
        return [
            *statements,
            iam.PolicyStatement(actions=list(NETWORK_INTERFACE_ACTIONS), resources=["*"]),
            iam.PolicyStatement(
                effect=iam.Effect.DENY,
                actions=list(NETWORK_INTERFACE_ACTIONS),
                resources=["*"],
                conditions={"ArnEquals": {"lambda:SourceFunctionArn": own_arn}},
            ),
        ]
