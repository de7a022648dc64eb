"""How the functions without a route are called: by queues, by the clock, by name."""

from typing import cast

from aws_cdk import Aws, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from fastn.http.declarations import QueueConsumerDeclaration, ScheduledDeclaration, TaskDeclaration
from fastn.http.registry import RegisteredFunction
from fastn.platform.resources import Queue
from infra_cdk.messaging import MessagingStack
from infra_cdk.names import pascal_case
from infra_cdk.platform_function import FunctionFactory
from infra_cdk.roles import service_role

CONSUME_ACTIONS = (
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
)
ASYNCHRONOUS_RETRIES = 2
ASYNCHRONOUS_AGE = Duration.hours(6)
"""How long Lambda keeps trying to start an asynchronous task that is throttled: its longest."""


def add_background_function(
    scope: Construct, registered: RegisteredFunction, *, factory: FunctionFactory, messaging: MessagingStack
) -> lambda_.IFunction:
    """The Lambda of a function without a route, attached to what calls it."""
    declaration = registered.declaration
    match declaration:
        case QueueConsumerDeclaration():
            return _add_consumer(scope, registered, declaration, factory=factory, messaging=messaging)
        case ScheduledDeclaration():
            return _add_scheduled(scope, registered, declaration, factory=factory)
        case TaskDeclaration(asynchronous=True):
            return _add_asynchronous_task(scope, registered, factory=factory, messaging=messaging)
        case _:
            return factory.make(scope, registered)


def queues_of(declaration: QueueConsumerDeclaration, messaging: MessagingStack) -> dict[str, sqs.Queue]:
    """The queues that feed this consumer, by name; DEAD_LETTERS stands for every dead-letter queue."""
    queues: dict[str, sqs.Queue] = {}
    for queue in declaration.queues:
        if queue is Queue.DEAD_LETTERS:
            queues |= {f"{name}-dlq": dead for name, dead in messaging.dead_letter_queues.items()}
        else:
            queues[queue] = messaging.queues[queue]
    return queues


def _add_consumer(
    scope: Construct,
    registered: RegisteredFunction,
    declaration: QueueConsumerDeclaration,
    *,
    factory: FunctionFactory,
    messaging: MessagingStack,
) -> lambda_.IFunction:
    queues = queues_of(declaration, messaging)
    arns = [queue.queue_arn for queue in queues.values()]
    may_consume = iam.PolicyStatement(actions=list(CONSUME_ACTIONS), resources=arns)
    function = factory.make(scope, registered, extra=[may_consume])
    window = declaration.batching_window_seconds
    for name, queue in queues.items():
        lambda_.EventSourceMapping(
            scope,
            f"{pascal_case(registered.name)}From{pascal_case(name)}",
            target=function,
            event_source_arn=queue.queue_arn,
            batch_size=declaration.batch_size,
            max_batching_window=Duration.seconds(window) if window else None,
            max_concurrency=declaration.max_concurrency,
            report_batch_item_failures=True,
        )
    return function


def _add_scheduled(
    scope: Construct, registered: RegisteredFunction, declaration: ScheduledDeclaration, *, factory: FunctionFactory
) -> lambda_.IFunction:
    function = factory.make(scope, registered)
    name = pascal_case(registered.name)
    may_invoke = iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function.function_arn])
    caller = service_role(
        scope,
        f"{name}ScheduleRole",
        service="scheduler.amazonaws.com",
        statements=[may_invoke],
        conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
    )
    minutes = declaration.every_minutes
    scheduler.CfnSchedule(
        scope,
        f"{name}Schedule",
        schedule_expression=f"rate({minutes} minute{'' if minutes == 1 else 's'})",
        flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
        target=scheduler.CfnSchedule.TargetProperty(
            arn=function.function_arn,
            role_arn=caller.role_arn,
            # The next tick is the retry: a late call would only repeat it.
            retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                maximum_retry_attempts=0, maximum_event_age_in_seconds=60
            ),
        ),
    )
    function.configure_async_invoke(retry_attempts=0, max_event_age=Duration.minutes(1))
    return function


def _add_asynchronous_task(
    scope: Construct, registered: RegisteredFunction, *, factory: FunctionFactory, messaging: MessagingStack
) -> lambda_.IFunction:
    dead_letters = messaging.failed_tasks
    may_report = iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[dead_letters.queue_arn])
    function = factory.make(scope, registered, extra=[may_report])
    function.configure_async_invoke(
        retry_attempts=ASYNCHRONOUS_RETRIES,
        max_event_age=ASYNCHRONOUS_AGE,
        # jsii's classes and interfaces differ in the names of parameters, which pyright minds.
        on_failure=cast(lambda_.IDestination, destinations.SqsDestination(dead_letters)),
    )
    return function
