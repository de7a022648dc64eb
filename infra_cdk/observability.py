"""The alarms: dead letters, parked messages, failing requests, runs that timed out.

They notify nobody unless an e-mail address is given.
"""

from typing import cast

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra_cdk.configuration import InstallationConfiguration
from infra_cdk.installation_stack import InstallationStack
from infra_cdk.messaging import MessagingStack
from infra_cdk.names import Machine, machine_arn, pascal_case

PERIOD = Duration.minutes(5)
ERRORS_BEFORE_ALARM = 5


class ObservabilityStack(InstallationStack):
    """What wakes somebody up."""

    def __init__(
        self, scope: Construct, configuration: InstallationConfiguration, messaging: MessagingStack, *, api_id: str
    ) -> None:
        super().__init__(scope, "Observability", configuration, description="The alarms")
        self._installation = configuration.stage
        self._action = self._mail_action(configuration.alarm_email) if configuration.alarm_email else None
        for name, queue in messaging.dead_letter_queues.items():
            self._alarm_on_messages(f"{name}-dlq", queue)
        self._alarm_on_messages("parked", messaging.parking)
        self._alarm("FailingRequests", _api_server_errors(api_id), threshold=ERRORS_BEFORE_ALARM)
        for machine in Machine:
            metric = _timed_out_runs(machine_arn(configuration.stage, machine))
            self._alarm(f"TimedOut{machine.value.capitalize()}Runs", metric, threshold=1)

    def _alarm_on_messages(self, name: str, queue: sqs.Queue) -> None:
        metric = queue.metric_approximate_number_of_messages_visible(period=PERIOD, statistic="Maximum")
        self._alarm(f"{pascal_case(name)}Messages", metric, threshold=1)

    def _alarm(self, name: str, metric: cloudwatch.IMetric, *, threshold: int) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"{self._installation}-{name}",
            metric=metric,
            threshold=threshold,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        if self._action is not None:
            alarm.add_alarm_action(self._action)

    def _mail_action(self, address: str) -> cloudwatch.IAlarmAction:
        # CloudWatch cannot publish through the key AWS manages for SNS, so the topic has one of its own.
        key = kms.Key(self, "AlarmKey", description=f"Alarms of {self._installation}", enable_key_rotation=True)
        key.grant_encrypt_decrypt(iam.ServicePrincipal("cloudwatch.amazonaws.com"))
        # jsii's classes and interfaces differ in the names of parameters, which pyright minds.
        topic = sns.Topic(self, "Alarms", master_key=cast(kms.IKey, key), enforce_ssl=True)
        topic.add_subscription(cast(sns.ITopicSubscription, subscriptions.EmailSubscription(address)))
        return cast(cloudwatch.IAlarmAction, actions.SnsAction(cast(sns.ITopic, topic)))


def _api_server_errors(api_id: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/ApiGateway",
        metric_name="5xx",
        dimensions_map={"ApiId": api_id},
        period=PERIOD,
        statistic="Sum",
    )


def _timed_out_runs(arn: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/States",
        metric_name="ExecutionsTimedOut",
        dimensions_map={"StateMachineArn": arn},
        period=PERIOD,
        statistic="Sum",
    )
