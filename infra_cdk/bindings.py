"""What functions are bound to: a value for each setting, and the ARNs that their grants name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from aws_cdk import CfnParameter, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from fastn.platform.resources import Setting
from infra_cdk.configuration import InstallationConfiguration
from infra_cdk.grants import GrantTargets

LAMBDA_ENGINE_DIRECTORY = "/opt/engine"

SettingValue = Callable[[Construct], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VpcPlacement:
    """Where the functions that reach the database run."""

    vpc: ec2.IVpc
    security_group: ec2.ISecurityGroup
    subnets: ec2.SubnetSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindings:
    """Everything outside itself that a function of this installation needs."""

    configuration: InstallationConfiguration
    grants: GrantTargets
    placement: VpcPlacement | None
    setting_values: Mapping[Setting, SettingValue] = field(repr=False)

    def environment(self, scope: Construct, settings: Iterable[Setting]) -> dict[str, str]:
        """These settings' values, as the stack of `scope` may refer to them."""
        return {str(setting): self.setting_values[setting](scope) for setting in settings}


def fixed(value: str) -> SettingValue:
    """The same value in every stack: a literal or a reference the CDK exports."""
    return lambda _scope: value


def stack_parameter(name: str, description: str, *, secret: bool = False) -> SettingValue:
    """A CloudFormation parameter, declared in each top-level stack whose functions ask for it."""

    def value(scope: Construct) -> str:
        stack = _outermost_stack(scope)
        existing = stack.node.try_find_child(name)
        parameter = (
            cast(CfnParameter, existing)
            if existing
            else CfnParameter(stack, name, type="String", description=description, no_echo=secret)
        )
        return parameter.value_as_string

    return value


def _outermost_stack(scope: Construct) -> Stack:
    stack = Stack.of(scope)
    while stack.nested_stack_parent is not None:
        stack = stack.nested_stack_parent
    return stack
