"""What must be fast, keyed and awake while PostgreSQL sleeps: the DynamoDB tables and the tenants' KMS key."""

from aws_cdk import CfnOutput, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra_cdk.configuration import InstallationConfiguration
from infra_cdk.installation_stack import InstallationStack

EXPIRY_ATTRIBUTE = "expires_at"


class StorageStack(InstallationStack):
    """The projection of triggers, the outbox markers and the key that wraps every tenant's data key."""

    def __init__(self, scope: Construct, configuration: InstallationConfiguration) -> None:
        super().__init__(scope, "Storage", configuration, description="Keyed, expiring data and the tenants' key")
        self._keep = RemovalPolicy.DESTROY if configuration.is_local else RemovalPolicy.RETAIN
        self.triggers = self._table("Triggers", "trigger_id")
        self.markers = self._table("OutboxMarkers", "shard")
        self.state = self._table("WorkflowState", "state_key")
        self.cancel_flags = self._table("CancelFlags", "run")
        self.tenant_key = kms.Key(
            self,
            "TenantKey",
            description=f"Wraps the data key of every tenant of {configuration.stage}",
            alias=f"{configuration.stage}-tenant-keys",
            enable_key_rotation=True,
            removal_policy=self._keep,
        )
        CfnOutput(self, "TriggerTableName", value=self.triggers.table_name)
        CfnOutput(self, "MarkerTableName", value=self.markers.table_name)
        CfnOutput(self, "StateTableName", value=self.state.table_name)
        CfnOutput(self, "CancelFlagTableName", value=self.cancel_flags.table_name)
        CfnOutput(self, "TenantKeyArn", value=self.tenant_key.key_arn)

    def _table(self, name: str, key: str) -> dynamodb.Table:
        return dynamodb.Table(
            self,
            name,
            partition_key=dynamodb.Attribute(name=key, type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute=EXPIRY_ATTRIBUTE,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=self._keep is RemovalPolicy.RETAIN,
            removal_policy=self._keep,
        )
