"""The event bus, one fair queue per priority, the relay's queues, and where messages go that nobody could handle.

Every queue has a dead-letter queue. A consumer that declares `Queue.DEAD_LETTERS` is fed by all of them; what
it cannot keep itself moves, after its last try, to the one parking queue. That queue has no consumer, so nothing
goes round in circles: an alarm and 14 days are what a person has to look into it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from aws_cdk import CfnOutput, Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from fastn.http.declarations import Declaration, QueueConsumerDeclaration
from fastn.platform.resources import Queue
from infra_cdk.configuration import InstallationConfiguration
from infra_cdk.installation_stack import InstallationStack
from infra_cdk.names import pascal_case, queue_name

PRIORITIES: Sequence[Queue] = (Queue.P1, Queue.P2, Queue.P3, Queue.P4)
QUEUES: Sequence[Queue] = (Queue.RELAY, Queue.RAW_EVENTS, *PRIORITIES)
TENANT_OF_EVENT = "$.detail.tenantId"
"""The message group, which makes a standard queue fair: one tenant's backlog does not delay another's."""
DELIVERIES_BEFORE_DEAD = 10
DELIVERIES_BEFORE_PARKED = 20
"""With the visibility below, a dead letter waits out half an hour without a database before it is parked."""
VISIBILITY_MARGIN_SECONDS = 30
"""Beyond the consumer's time-out. AWS advises six time-outs, to spare throttled consumers; that would also be the
pause before every retry (six minutes), so the queues take a short pause and more deliveries instead."""
DEFAULT_CONSUMER_TIMEOUT_SECONDS = 60
RETENTION = Duration.days(4)
DEAD_RETENTION = Duration.days(14)


class MessagingStack(InstallationStack):
    """The installation's event bus and queues."""

    def __init__(
        self, scope: Construct, configuration: InstallationConfiguration, declarations: Iterable[Declaration]
    ) -> None:
        super().__init__(scope, "Messaging", configuration, description="The event bus and the queues")
        self._installation = configuration.stage
        self._timeouts = longest_consumer_timeouts(declarations)
        self.bus = events.EventBus(self, "EventBus", event_bus_name=f"{configuration.stage}-events")
        self.parking = self._terminal_queue()
        self.dead_letter_queues: dict[str, sqs.Queue] = {}
        self.queues = {queue: self._queue_with_dead_letters(queue) for queue in QUEUES}
        self.failed_tasks = self._dead_letter_queue("tasks")
        for priority in PRIORITIES:
            self._route_priority(priority)
        self.trigger_schedules = scheduler.CfnScheduleGroup(
            self, "TriggerSchedules", name=f"{configuration.stage}-triggers"
        )
        self._write_outputs()

    @property
    def relay(self) -> sqs.Queue:
        """Wakes the relay."""
        return self.queues[Queue.RELAY]

    @property
    def raw_events(self) -> sqs.Queue:
        """Deliveries that arrived while PostgreSQL slept."""
        return self.queues[Queue.RAW_EVENTS]

    def _queue_with_dead_letters(self, queue: Queue) -> sqs.Queue:
        return sqs.Queue(
            self,
            pascal_case(queue),
            queue_name=queue_name(self._installation, queue),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=RETENTION,
            visibility_timeout=self._visibility(queue),
            dead_letter_queue=sqs.DeadLetterQueue(
                max_receive_count=DELIVERIES_BEFORE_DEAD, queue=self._dead_letter_queue(queue)
            ),
        )

    def _dead_letter_queue(self, name: str) -> sqs.Queue:
        self.dead_letter_queues[name] = sqs.Queue(
            self,
            f"{pascal_case(name)}DeadLetters",
            queue_name=f"{self._installation}-{name}-dlq",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=DEAD_RETENTION,
            visibility_timeout=self._visibility(Queue.DEAD_LETTERS),
            dead_letter_queue=sqs.DeadLetterQueue(max_receive_count=DELIVERIES_BEFORE_PARKED, queue=self.parking),
        )
        return self.dead_letter_queues[name]

    def _visibility(self, queue: Queue) -> Duration:
        timeout_seconds = self._timeouts.get(queue, DEFAULT_CONSUMER_TIMEOUT_SECONDS)
        return Duration.seconds(timeout_seconds + VISIBILITY_MARGIN_SECONDS)

    def _terminal_queue(self) -> sqs.Queue:
        return sqs.Queue(
            self,
            "Parking",
            queue_name=f"{self._installation}-parked",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=DEAD_RETENTION,
        )

    def _route_priority(self, priority: Queue) -> None:
        target = targets.SqsQueue(
            self.queues[priority],
            message_group_id=TENANT_OF_EVENT,
            dead_letter_queue=self.dead_letter_queues[priority],
        )
        events.Rule(
            self,
            f"Route{priority.name}",
            rule_name=f"{self._installation}-{priority.name.lower()}",
            event_bus=self.bus,
            event_pattern=events.EventPattern(detail={"priority": [priority.name]}),
            # jsii's classes and interfaces differ in the names of parameters, which pyright minds.
            targets=[cast(events.IRuleTarget, target)],
        )

    def _write_outputs(self) -> None:
        CfnOutput(self, "EventBusName", value=self.bus.event_bus_name)
        CfnOutput(self, "ParkingQueueUrl", value=self.parking.queue_url)
        CfnOutput(self, "TaskDeadLetterQueueUrl", value=self.failed_tasks.queue_url)
        for queue, output in _OUTPUT_OF_QUEUE.items():
            CfnOutput(self, output.format(""), value=self.queues[queue].queue_url)
            CfnOutput(self, output.format("DeadLetter"), value=self.dead_letter_queues[queue].queue_url)


_OUTPUT_OF_QUEUE: Mapping[Queue, str] = {
    Queue.RELAY: "Relay{}QueueUrl",
    Queue.RAW_EVENTS: "RawEvent{}QueueUrl",
    **{priority: "Event{}QueueUrl" + priority.name for priority in PRIORITIES},
}


def longest_consumer_timeouts(declarations: Iterable[Declaration]) -> dict[Queue, int]:
    """Seconds: for each queue that is consumed, the longest time-out and batching window among its consumers."""
    longest: dict[Queue, int] = {}
    for declaration in declarations:
        if isinstance(declaration, QueueConsumerDeclaration):
            for queue in declaration.queues:
                seconds = declaration.sizing.timeout_seconds + declaration.batching_window_seconds
                longest[queue] = max(longest.get(queue, 0), seconds)
    return longest
