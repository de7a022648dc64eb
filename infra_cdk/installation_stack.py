"""The stack that every stack of an installation is: named after it, in its account and region."""

from aws_cdk import Environment, Stack, Tags
from constructs import Construct

from infra_cdk.configuration import InstallationConfiguration


class InstallationStack(Stack):
    """`<installation>-<name>` in CloudFormation, tagged with the installation."""

    def __init__(
        self, scope: Construct, name: str, configuration: InstallationConfiguration, *, description: str
    ) -> None:
        super().__init__(
            scope,
            name,
            stack_name=f"{configuration.stage}-{name.lower()}",
            env=Environment(account=configuration.account, region=configuration.region),
            description=description,
            termination_protection=not configuration.is_local,
        )
        self.configuration = configuration
        Tags.of(self).add("fastn:installation", configuration.stage)
