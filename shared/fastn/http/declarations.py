"""What a Lambda function says of itself, once; CDK, OpenAPI, the local runtime and the tests read it here."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from fastn.platform.resources import Need, Queue


class Method(StrEnum):
    """The HTTP methods a route may have."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    ANY = "ANY"


FALLBACK_PATH = "$default"
"""The path of the route that answers whatever no other route does."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What the function is given: memory buys CPU in proportion (1,769 MB is one vCPU)."""

    memory_mb: int = 512
    timeout_seconds: int = 29


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDeclaration:
    """What every kind of function declares."""

    summary: str
    needs: frozenset[Need]
    sizing: Sizing


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDeclaration(FunctionDeclaration):
    """One HTTP route. `permission` None means that the route authenticates its callers itself."""

    method: Method
    path: str
    permission: str | None
    open_because: str | None
    status: int
    environment_bound: bool
    max_body_bytes: int
    body: type[BaseModel] | None
    takes_raw_body: bool
    query: type[BaseModel] | None
    response: object

    @property
    def route(self) -> str:
        """Method and path, as API Gateway spells a route key."""
        if self.path == FALLBACK_PATH:
            return FALLBACK_PATH
        return f"{self.method} {self.path}"

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """The names in braces, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConsumerDeclaration(FunctionDeclaration):
    """A consumer of one or more queues, called with a batch of one; it names the messages that failed."""

    queues: tuple[Queue, ...]
    batch_size: int
    batching_window_seconds: int
    max_concurrency: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledDeclaration(FunctionDeclaration):
    """A function called at a fixed rate."""

    every_minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDeclaration(FunctionDeclaration):
    """A function called by name: a state of a state machine, or by another function, asynchronously."""

    asynchronous: bool
    """True if it is invoked without waiting; a failed event then goes to the dead-letter queue."""


Declaration = EndpointDeclaration | QueueConsumerDeclaration | ScheduledDeclaration | TaskDeclaration
