"""Aurora PostgreSQL: pauses when nobody connects, logs functions in by IAM, outlives its stack."""

from collections.abc import Mapping

from aws_cdk import Aws, CfnOutput, Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import Construct

from fastn.databases import provisioning
from fastn.platform.database import Role
from infra_cdk.configuration import InstallationConfiguration
from infra_cdk.installation_stack import InstallationStack
from infra_cdk.network import NetworkStack

DATABASE_NAME = "fastn"
OWNER = "fastn_owner"
PORT = 5432
PAUSE_AFTER = Duration.minutes(5)


class DataStack(InstallationStack):
    """The one database cluster of the installation."""

    def __init__(self, scope: Construct, configuration: InstallationConfiguration, network: NetworkStack) -> None:
        super().__init__(scope, "Data", configuration, description="The database")
        key = kms.Key(
            self,
            "DatabaseKey",
            description=f"Encrypts the database of {configuration.stage}",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.cluster = rds.DatabaseCluster(
            self,
            "Cluster",
            engine=rds.DatabaseClusterEngine.aurora_postgres(version=rds.AuroraPostgresEngineVersion.VER_18_4),
            writer=rds.ClusterInstance.serverless_v2("Writer"),
            serverless_v2_min_capacity=0,
            serverless_v2_max_capacity=configuration.database_max_capacity_units,
            serverless_v2_auto_pause_duration=PAUSE_AFTER,
            # RDS keeps and rotates the owner's password; functions never see it, they log in by IAM.
            credentials=rds.Credentials.from_username(OWNER),
            manage_master_user_password=True,
            iam_authentication=True,
            default_database_name=DATABASE_NAME,
            port=PORT,
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name="database"),
            security_groups=[self._database_group(network)],
            storage_encrypted=True,
            storage_encryption_key=key,
            parameters={"rds.force_ssl": "1"},
            backup=rds.BackupProps(retention=Duration.days(14)),
            copy_tags_to_snapshot=True,
            deletion_protection=True,
            removal_policy=RemovalPolicy.RETAIN,
        )
        CfnOutput(self, "ClusterEndpoint", value=self.cluster.cluster_endpoint.hostname)

    def url(self, role: Role) -> str:
        """The URL this role connects to. It carries no password: an IAM token is the password."""
        return self._url(role, DATABASE_NAME)

    @property
    def provisioner_url(self) -> str:
        """The same for who makes the tenants' databases."""
        return self._url(provisioning.PROVISIONER, provisioning.DATABASE_NAME)

    @property
    def logins(self) -> Mapping[Role, str]:
        """For each role, the resource that `rds-db:connect` is granted on."""
        return {role: self._login(role) for role in Role}

    @property
    def provisioner_login(self) -> str:
        """The same for who makes the tenants' databases."""
        return self._login(provisioning.PROVISIONER)

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}@{self.cluster.cluster_endpoint.hostname}:{PORT}/{database}?sslmode=require"

    def _login(self, user: str) -> str:
        cluster = self.cluster.cluster_resource_identifier
        return f"arn:{Aws.PARTITION}:rds-db:{Aws.REGION}:{Aws.ACCOUNT_ID}:dbuser:{cluster}/{user}"

    def _database_group(self, network: NetworkStack) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self,
            "DatabaseGroup",
            vpc=network.vpc,
            description="The database: reached by the functions alone",
            allow_all_outbound=False,
        )
        group.add_ingress_rule(network.functions_group, ec2.Port.tcp(PORT), "PostgreSQL from the functions")
        return group
