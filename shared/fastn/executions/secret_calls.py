"""Host calls of fastn.secrets: the program is told the value, the journal which version it was."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from fastn.errors import ValidationFailed
from fastn.executions.errors import RunCannotResume
from fastn.executions.masking import UsedSecrets
from fastn.executions.models import RunnableExecution
from fastn.executions.running import PerformedCall
from fastn.secrets.errors import SecretMissing
from fastn.secrets.named_models import OpenedSecret, SecretReference

SECRET_OPERATION = "secrets"  # noqa: S105  # the name of a kind of call
_GET = "secrets.get"


@dataclass(slots=True)
class SecretCalls:
    """The secret calls of one run. What they open is masked in everything the run leaves behind."""

    execution: RunnableExecution
    read_current: Callable[[RunnableExecution, str], OpenedSecret]
    read_version: Callable[[RunnableExecution, SecretReference], OpenedSecret]
    used_secrets: UsedSecrets
    _opened: dict[SecretReference, str] = field(default_factory=dict[SecretReference, str], repr=False)

    def perform(self, operation: str, arguments_json: str, _idempotency_key: str, /) -> PerformedCall:
        """A reference to the secret's current version. Raises SecretMissing."""
        name = cast("dict[str, Any]", json.loads(arguments_json)).get("name")
        if operation != _GET or not isinstance(name, str):
            raise ValidationFailed("fastn.secrets.get takes the name of a secret.")
        opened = self._keep(self.read_current(self.execution, name))
        return PerformedCall(opened.reference.as_json(), is_reference=True)

    def restored(self, _operation: str, recorded_json: str, /) -> str:
        """The value, as JSON text, at the version that was recorded. Raises RunCannotResume if that is gone."""
        reference = SecretReference.from_json(recorded_json)
        if reference not in self._opened:
            try:
                self._keep(self.read_version(self.execution, reference))
            except SecretMissing as error:
                raise RunCannotResume(error.message) from error
        return json.dumps(self._opened[reference])

    def is_write(self, _operation: str, _arguments_json: str, /) -> bool:
        """False: a later attempt reads the current version."""
        return False

    def _keep(self, opened: OpenedSecret) -> OpenedSecret:
        self._opened[opened.reference] = opened.value
        self.used_secrets.add((opened.value,))
        return opened
