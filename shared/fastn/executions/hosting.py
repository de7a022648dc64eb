"""What a program may do outside its sandbox: calls to the connectors its tenant is connected to."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from fastn.connections.models import ConnectionForCall
from fastn.connectors.calls import ActionCall, ActionFailure, try_action
from fastn.connectors.catalog import ConnectorCatalog
from fastn.connectors.exchanges import Exchange
from fastn.errors import ValidationFailed
from fastn.executions.models import RunnableExecution
from fastn.executions.running import PerformedCall
from fastn.platform.clock import Clock
from fastn.platform.egress import GuardedClient
from fastn.secrets.rules import SecretMask

CONNECTOR_OPERATION = "connector"


class OperationUnknown(ValidationFailed):
    """The program asked for a host call that this installation does not offer."""


@dataclass(slots=True)
class ConnectorHost:
    """The host of one run: credentials are read at the first call of each connector and never shown."""

    execution: RunnableExecution
    catalog: ConnectorCatalog
    find_connection: Callable[[RunnableExecution, str, str], ConnectionForCall]
    http: GuardedClient
    clock: Clock
    deadline_seconds: float | None = None
    """On the clock's monotonic scale: no vendor call goes on after it."""
    _connections: dict[tuple[str, str], ConnectionForCall] = field(
        default_factory=dict[tuple[str, str], ConnectionForCall]
    )
    _secrets: set[str] = field(default_factory=set[str])
    _mask: SecretMask = field(default_factory=lambda: SecretMask(()))

    def perform(self, operation: str, arguments_json: str, idempotency_key: str) -> PerformedCall:
        """The connector action's answer, or how the vendor failed it. Raises FastnError if it cannot be called."""
        kind, _, rest = operation.partition(".")
        name, _, action = rest.partition(".")
        if kind != CONNECTOR_OPERATION or not action:
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
        outcome = try_action(call, self.http, clock=self.clock)
        if isinstance(outcome, ActionFailure):
            return PerformedCall(error=outcome.error, exchange_json=self._told(outcome.exchange))
        return PerformedCall(result_json=_json_text(outcome.value), exchange_json=self._told(outcome.exchange))

    def masked(self, text: str) -> str:
        """The text with every credential value this run has used replaced."""
        return self._mask.mask(text)

    def masked_json(self, json_text: str) -> str:
        """The same for JSON text: values and member names are masked one by one, so it stays JSON."""
        if self.masked(json_text) == json_text:
            return json_text
        return json.dumps(self._masked_value(json.loads(json_text)))

    def _masked_value(self, value: object) -> object:
        if isinstance(value, Mapping):
            members = cast("Mapping[str, object]", value).items()
            return {self.masked(name): self._masked_value(member) for name, member in members}
        if isinstance(value, list):
            return [self._masked_value(element) for element in cast("list[object]", value)]
        if value is None or isinstance(value, bool):
            return value
        masked = self.masked(str(value))
        return value if masked == str(value) else masked

    def _told(self, exchange: Exchange | None) -> str | None:
        return self.masked_json(_json_text(asdict(exchange))) if exchange is not None else None

    def _connection(self, slug: str, name: str) -> ConnectionForCall:
        key = (slug, name)
        if key not in self._connections:
            connection = self.find_connection(self.execution, slug, name)
            self._connections[key] = connection
            self._secrets.update(connection.credential.values())
            self._mask = SecretMask(self._secrets)
        return self._connections[key]


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
