"""`@queue_consumer`, `@scheduled` and `@task`: the functions that no HTTP caller reaches."""

import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from fastn.http.declarations import (
    QueueConsumerDeclaration,
    ScheduledDeclaration,
    Sizing,
    TaskDeclaration,
)
from fastn.platform.capabilities import NO_ROUTES, Platform
from fastn.platform.observability import Telemetry
from fastn.platform.resources import Need, Queue

DeclarationT = TypeVar("DeclarationT", QueueConsumerDeclaration, ScheduledDeclaration, TaskDeclaration)


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """One message of a batch. It may have been delivered before: every consumer is idempotent."""

    id: str
    body: str
    receive_count: int
    attributes: Mapping[str, str]
    source_queue: str

    def json(self) -> Any:  # the shape is the consumer's to validate
        """The body parsed as JSON."""
        return json.loads(self.body)


class BackgroundFunction(Generic[DeclarationT]):
    """The Lambda handler of a function that is called by a queue, a timer or by name."""

    def __init__(
        self, declaration: DeclarationT, implementation: Callable[..., object], platform: Platform | None = None
    ) -> None:
        self.declaration: DeclarationT = declaration
        self.implementation = implementation
        self.name = implementation.__module__.rsplit(".", 1)[-1]
        self._platform = platform
        self._telemetry: Telemetry | None = None

    def bound_to(self, platform: Platform) -> "BackgroundFunction[DeclarationT]":
        """The same function with these capabilities, as tests call it."""
        return BackgroundFunction(self.declaration, self.implementation, platform)

    def __call__(self, event: Any, context: Any) -> object:  # Lambda's own signature
        """What Lambda expects back. Raises what the work raised, so that the caller retries it."""
        started = time.perf_counter()
        telemetry = self._telemetry = self._telemetry or Telemetry(self.name)
        platform = self._platform = self._platform or Platform.from_environment(
            self.declaration.needs, getattr(context, "fastn_loopback_routes", NO_ROUTES)
        )
        try:
            return self._run(event, context, platform, telemetry)
        except Exception as error:
            telemetry.log_failure("failed", error)
            telemetry.count("Failed")
            raise
        finally:
            telemetry.milliseconds("Duration", round((time.perf_counter() - started) * 1000, 2))
            telemetry.flush()

    def _run(
        self, event: Any, context: Any, platform: Platform, telemetry: Telemetry
    ) -> object:  # Lambda's own signature
        if not isinstance(self.declaration, QueueConsumerDeclaration):
            return self.implementation(event, platform, Deadline.of(context))
        messages = [_message(record) for record in event["Records"]]
        failed = cast("Sequence[str] | None", self.implementation(messages, platform)) or ()
        if failed:
            telemetry.log("messages go back to their queue", failed=len(failed), received=len(messages))
            telemetry.count("FailedMessages", len(failed))
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


@dataclass(frozen=True, slots=True)
class Deadline:
    """When Lambda will end this invocation."""

    remaining_milliseconds: Callable[[], int]

    @classmethod
    def of(cls, context: Any) -> "Deadline":  # Lambda's context object has no static type
        """The deadline of a Lambda context."""
        return cls(lambda: int(context.get_remaining_time_in_millis()))

    def remaining_seconds(self) -> float:
        """Seconds left."""
        return self.remaining_milliseconds() / 1000


def queue_consumer(
    *queues: Queue,
    needs: set[Need] | None = None,
    batch_size: int = 10,
    batching_window_seconds: int = 0,
    max_concurrency: int | None = None,
    sizing: Sizing | None = None,
) -> Callable[[Callable[..., object]], BackgroundFunction[QueueConsumerDeclaration]]:
    """Declares a consumer: it is given a list of QueueMessage and returns the ids of those that failed."""

    def declare(implementation: Callable[..., object]) -> BackgroundFunction[QueueConsumerDeclaration]:
        declaration = QueueConsumerDeclaration(
            summary=_summary(implementation),
            needs=frozenset(needs or ()),
            sizing=sizing or Sizing(timeout_seconds=60),
            queues=queues,
            batch_size=batch_size,
            batching_window_seconds=batching_window_seconds,
            max_concurrency=max_concurrency,
        )
        return BackgroundFunction(declaration, implementation)

    return declare


def scheduled(
    *, every_minutes: int, needs: set[Need] | None = None, sizing: Sizing | None = None
) -> Callable[[Callable[..., object]], BackgroundFunction[ScheduledDeclaration]]:
    """Declares a function that EventBridge Scheduler calls at a fixed rate."""

    def declare(implementation: Callable[..., object]) -> BackgroundFunction[ScheduledDeclaration]:
        declaration = ScheduledDeclaration(
            summary=_summary(implementation),
            needs=frozenset(needs or ()),
            sizing=sizing or Sizing(timeout_seconds=60),
            every_minutes=every_minutes,
        )
        return BackgroundFunction(declaration, implementation)

    return declare


def task(
    *, needs: set[Need] | None = None, asynchronous: bool = False, sizing: Sizing | None = None
) -> Callable[[Callable[..., object]], BackgroundFunction[TaskDeclaration]]:
    """Declares a function that a state machine or another function calls by name."""

    def declare(implementation: Callable[..., object]) -> BackgroundFunction[TaskDeclaration]:
        declaration = TaskDeclaration(
            summary=_summary(implementation),
            needs=frozenset(needs or ()),
            sizing=sizing or Sizing(timeout_seconds=60),
            asynchronous=asynchronous,
        )
        return BackgroundFunction(declaration, implementation)

    return declare


def _summary(implementation: Callable[..., object]) -> str:
    return inspect.getdoc(inspect.getmodule(implementation)) or ""


def _message(record: Mapping[str, Any]) -> QueueMessage:  # an SQS record
    attributes: dict[str, str] = record.get("attributes") or {}
    return QueueMessage(
        id=record["messageId"],
        body=record["body"],
        receive_count=int(attributes.get("ApproximateReceiveCount", "1")),
        attributes=attributes,
        source_queue=str(record.get("eventSourceARN", "")).rsplit(":", 1)[-1],
    )
