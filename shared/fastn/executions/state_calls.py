"""Host calls of fastn.state: on behalf of one run, whose secrets are never kept in state."""

from dataclasses import dataclass
from datetime import timedelta

from fastn.executions.hosting import AnsweredByJournal
from fastn.executions.masking import UsedSecrets
from fastn.executions.models import RunnableExecution
from fastn.executions.running import PerformedCall
from fastn.state.errors import StateHoldsSecret
from fastn.state.models import StateOwner
from fastn.state.service import ProgramState
from fastn.state.store import StateStore

STATE_OPERATION = "state"
_SET = "state.set"
_REMEMBERED_AFTER_DEADLINE = timedelta(days=1)
"""How long what a run keeps for itself alone outlives its own timeout."""


@dataclass(frozen=True, slots=True)
class StateCalls(AnsweredByJournal):
    """The state calls of one run."""

    execution: RunnableExecution
    store: StateStore
    used_secrets: UsedSecrets

    def perform(self, operation: str, arguments_json: str, idempotency_key: str) -> PerformedCall:
        """The call's result. Raises StateHoldsSecret, and what ProgramState raises."""
        # State lies in the table in the clear, and a later run would be told it without knowing it for a secret.
        if operation == _SET and self.used_secrets.are_in_json(arguments_json):
            raise StateHoldsSecret("The key or value holds a secret: read it with fastn.secrets.get where it is used.")
        return PerformedCall(self._state().perform(operation, arguments_json, idempotency_key))

    def is_write(self, _operation: str, _arguments_json: str, /) -> bool:
        """False: a later attempt makes its calls again, for it reads what lies there now.

        A repeated set is known by its idempotency key, and a delete harms nobody twice. An earlier receipt
        would hide that the same attempt deleted the key afterwards.
        """
        return False

    def _state(self) -> ProgramState:
        run = self.execution
        reference = run.reference
        owner = StateOwner(reference.scope, run.environment, run.workflow_id, reference.execution_id)
        return ProgramState(self.store, owner, run.deadline + _REMEMBERED_AFTER_DEADLINE)
