"""What a program may do outside its sandbox: one host per kind of call, and the connectors' among them."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, cast

from fastn.connections.models import ConnectionForCall
from fastn.connectors.calls import ActionCall, ActionFailure, HttpSender, try_action
from fastn.connectors.catalog import ConnectorCatalog
from fastn.connectors.exchanges import Exchange
from fastn.connectors.models import Action
from fastn.connectors.templates import ReferenceMissing
from fastn.errors import FastnError, ValidationFailed
from fastn.executions.masking import UsedSecrets
from fastn.executions.models import RunnableExecution
from fastn.executions.running import PerformedCall
from fastn.platform.clock import Clock

CONNECTOR_OPERATION = "connector"
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


class OperationUnknown(ValidationFailed):
    """The program asked for a host call that this installation does not offer."""


class Operations(Protocol):
    """Performs the host calls of one kind: what stands before the first dot of an operation."""

    def perform(self, operation: str, arguments_json: str, idempotency_key: str, /) -> PerformedCall:
        """As the Host's."""
        ...

    def restored(self, operation: str, recorded_json: str, /) -> str:
        """As the Host's."""
        ...

    def is_write(self, operation: str, arguments_json: str, /) -> bool:
        """As the Host's."""
        ...


class AnsweredByJournal:
    """The Operations whose results are in the journal as the program was told them."""

    __slots__ = ()

    def restored(self, _operation: str, recorded_json: str, /) -> str:
        """What was recorded."""
        return recorded_json

    def is_write(self, _operation: str, _arguments_json: str, /) -> bool:
        """True: what is not known to be a read counts as a write."""
        return True


@dataclass(frozen=True, slots=True)
class RunHost:
    """The host of one run: hands each call to its kind's operations, and masks what any of them used."""

    operations: Mapping[str, Operations]
    used_secrets: UsedSecrets

    def perform(self, operation: str, arguments_json: str, idempotency_key: str) -> PerformedCall:
        """What the operation's kind answers. Raises OperationUnknown for a kind that is not offered."""
        kind = self.operations.get(_kind_of(operation))
        if kind is None:
            raise OperationUnknown(f"{operation} is not available in this installation.")
        return kind.perform(operation, arguments_json, idempotency_key)

    def restored(self, operation: str, recorded_json: str) -> str:
        """What the program is told for a recorded result; timers are nobody's operations, and tell nothing."""
        kind = self.operations.get(_kind_of(operation))
        return recorded_json if kind is None else kind.restored(operation, recorded_json)

    def is_write(self, operation: str, arguments_json: str) -> bool:
        """Whether the call changes something. What is not known to be a read counts as a write."""
        kind = self.operations.get(_kind_of(operation))
        return kind is None or kind.is_write(operation, arguments_json)

    def masked(self, text: str) -> str:
        """The text with every secret this run has used replaced."""
        return self.used_secrets.masked(text)

    def masked_json(self, json_text: str) -> str:
        """The same for JSON text, which stays JSON."""
        return self.used_secrets.masked_json(json_text)


@dataclass(slots=True)
class ConnectorHost(AnsweredByJournal):
    """Calls of connectors: credentials are read at the first call of each connector and never shown."""

    execution: RunnableExecution
    catalog: ConnectorCatalog
    find_connection: Callable[[RunnableExecution, str, str], ConnectionForCall]
    http: HttpSender
    clock: Clock
    used_secrets: UsedSecrets = field(default_factory=UsedSecrets)
    deadline_seconds: float | None = None
    """On the clock's monotonic scale: no vendor call goes on after it."""
    sleep: Callable[[float], None] = time.sleep
    """How to wait between two attempts at a call."""
    _connections: dict[tuple[str, str], ConnectionForCall] = field(
        default_factory=dict[tuple[str, str], ConnectionForCall]
    )

    def perform(self, operation: str, arguments_json: str, idempotency_key: str) -> PerformedCall:
        """The connector action's answer, or how the vendor failed it. Raises FastnError if it cannot be called."""
        _, _, rest = operation.partition(".")
        name, _, action = rest.partition(".")
        if not action:
            raise OperationUnknown(f"{operation} is not available in this installation.")
        connector = self.catalog.find_by_code_name(name)
        arguments, connection_name = _arguments(arguments_json)
        connection = self._connection(str(connector.slug), connection_name)
        call = ActionCall(
            connector=connector,
            action=action,
            arguments=arguments,
            credential=connection.authentication(),
            config=connection.config,
            idempotency_key=idempotency_key,
            step=action,
            deadline_seconds=self.deadline_seconds,
        )
        outcome = try_action(call, self.http, clock=self.clock, sleep=self.sleep)
        if isinstance(outcome, ActionFailure):
            return PerformedCall(error=outcome.error, exchange_json=self._told(outcome.exchange))
        return PerformedCall(result_json=_json_text(outcome.value), exchange_json=self._told(outcome.exchange))

    def is_write(self, operation: str, arguments_json: str, /) -> bool:
        """Whether the action changes something at the vendor.

        It does not if its method is safe (RFC 9110 section 9.2.1), or a POST that its manifest calls idempotent:
        such an action asks for something. PUT and DELETE are idempotent too, and are writes.
        """
        _, name, action_name = operation.split(".", 2)
        try:
            action = self.catalog.find_by_code_name(name).actions[action_name]
            arguments, _ = _arguments(arguments_json)
            method = action.method.render({"in": _with_defaults(action, arguments), "config": {}})
        except (FastnError, KeyError, ReferenceMissing):
            return True
        return method not in _SAFE_METHODS and not (method == "POST" and action.is_idempotent is True)

    def _told(self, exchange: Exchange | None) -> str | None:
        return self.used_secrets.masked_json(_json_text(asdict(exchange))) if exchange is not None else None

    def _connection(self, slug: str, name: str) -> ConnectionForCall:
        key = (slug, name)
        if key not in self._connections:
            connection = self.find_connection(self.execution, slug, name)
            self._connections[key] = connection
            self.used_secrets.add(connection.credential.values())
        return self._connections[key]


def _with_defaults(action: Action, arguments: Mapping[str, object]) -> Mapping[str, object]:
    defaults = {name: parameter.default for name, parameter in action.parameters.items()}
    return {**{name: value for name, value in defaults.items() if value is not None}, **arguments}


def _kind_of(operation: str) -> str:
    return operation.partition(".")[0]


def _json_text(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        # Python reads NaN and 1e400 in a vendor's answer, JSON cannot say them: null, as in JavaScript.
        return json.dumps(_without_infinities(value))


def _without_infinities(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value).items()
        return {name: _without_infinities(member) for name, member in members}
    if isinstance(value, list):
        return [_without_infinities(element) for element in cast("list[object]", value)]
    return value


def _arguments(arguments_json: str) -> tuple[Mapping[str, Any], str]:
    # {args, options} as the prelude sends them; options carry which connection to use.
    message = cast("dict[str, Any]", json.loads(arguments_json))
    arguments = message.get("args")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise ValidationFailed("A connector action takes one object of named arguments.")
    options = cast("dict[str, Any]", message.get("options") or {})
    return cast("dict[str, Any]", arguments), str(options.get("connection") or "default")
