"""The VPC that holds the database, and how the functions beside it reach the rest of AWS."""

from aws_cdk import Aws, Fn
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra_cdk.bindings import VpcPlacement
from infra_cdk.checks import acknowledge
from infra_cdk.configuration import InstallationConfiguration, Nat
from infra_cdk.installation_stack import InstallationStack

VPC_BLOCK = "10.0.0.0/16"


class NetworkStack(InstallationStack):
    """Two availability zones: a public subnet each for translation, one for functions, one for the database."""

    def __init__(self, scope: Construct, configuration: InstallationConfiguration) -> None:
        super().__init__(scope, "Network", configuration, description="The VPC around the database")
        provider = _nat_provider(configuration.nat)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(VPC_BLOCK),
            max_azs=2,
            nat_gateways=0 if provider is None else 1,
            nat_gateway_provider=provider,
            subnet_configuration=_subnets(configuration.nat),
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
                "DynamoDb": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.DYNAMODB),
            },
        )
        acknowledge(self.vpc, "VPC7", "Flow logs cost by traffic and nothing here reads them.")
        if isinstance(provider, ec2.NatInstanceProviderV2):
            self._admit_only_the_vpc(provider)
        self.functions_group = ec2.SecurityGroup(
            self, "FunctionsGroup", vpc=self.vpc, description=f"Functions of {configuration.stage} beside the database"
        )

    @property
    def availability_zones(self) -> list[str]:
        """The region's first two zones, named at deployment: a lookup at synthesis would need credentials."""
        return [Fn.select(index, Fn.get_azs(Aws.REGION)) for index in range(2)]

    @property
    def placement(self) -> VpcPlacement:
        """Where functions that need the database are put."""
        return VpcPlacement(
            vpc=self.vpc,
            security_group=self.functions_group,
            subnets=ec2.SubnetSelection(subnet_group_name="functions"),
        )

    def _admit_only_the_vpc(self, provider: ec2.NatInstanceProviderV2) -> None:
        # The literal block, because cdk-nag cannot judge a reference.
        provider.connections.allow_from(
            ec2.Peer.ipv4(VPC_BLOCK), ec2.Port.all_traffic(), "from the VPC, to be translated"
        )
        for instance in provider.gateway_instances:
            acknowledge(instance, "EC26", "The machine translates addresses and stores nothing.")
            acknowledge(instance, "EC28", "Detailed monitoring would cost more than it tells about a machine of $3.")
            acknowledge(instance, "EC29", "The machine may be replaced at any time: it stores nothing.")


def _nat_provider(nat: Nat) -> ec2.NatProvider | None:
    match nat:
        case Nat.INSTANCE:
            return ec2.NatProvider.instance_v2(
                instance_type=ec2.InstanceType("t4g.nano"),
                machine_image=ec2.MachineImage.latest_amazon_linux2023(cpu_type=ec2.AmazonLinuxCpuType.ARM_64),
                default_allowed_traffic=ec2.NatTrafficDirection.OUTBOUND_ONLY,
                # A new account's default is "unlimited" credits, which can cost more than the machine.
                credit_specification=ec2.CpuCredits.STANDARD,
            )
        case Nat.GATEWAY:
            return ec2.NatProvider.gateway()
        case Nat.NONE:
            return None


def _subnets(nat: Nat) -> list[ec2.SubnetConfiguration]:
    isolated = ec2.SubnetType.PRIVATE_ISOLATED
    database = ec2.SubnetConfiguration(name="database", subnet_type=isolated, cidr_mask=26)
    if nat is Nat.NONE:
        return [ec2.SubnetConfiguration(name="functions", subnet_type=isolated, cidr_mask=20), database]
    return [
        ec2.SubnetConfiguration(name="public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=26),
        ec2.SubnetConfiguration(name="functions", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=20),
        database,
    ]
