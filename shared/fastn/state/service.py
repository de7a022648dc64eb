"""fastn.state: get, set and delete, as programs call them."""

import json
from dataclasses import dataclass
from datetime import datetime

from fastn.errors import ValidationFailed
from fastn.state import rules
from fastn.state.models import (
    DeleteCall,
    GetCall,
    GetOptions,
    KeyOptions,
    SetCall,
    SetOptions,
    StateOwner,
    StateScope,
    StoredState,
)
from fastn.state.store import Condition, StateStore


@dataclass(frozen=True, slots=True)
class ProgramState:
    """The state that one run sees. What it keeps for itself alone is forgotten after `forgotten_at`.

    Every method takes the call's arguments as JSON text and returns its result as JSON text. All raise
    ValidationFailed for arguments that are not what the call takes, and StateUnavailable.
    """

    store: StateStore
    owner: StateOwner
    forgotten_at: datetime

    def get(self, arguments_json: str) -> str:
        """The value; null if the key is absent or has expired. With `withVersion`: {value, version}, or null."""
        call = rules.read_call(GetCall, arguments_json)
        options = call.options or GetOptions()
        found = self.store.get(rules.state_key(self.owner, options.scope, call.key))
        return rules.answer_to_get(found, with_version=options.with_version)

    def set(self, arguments_json: str, write_id: str) -> str:
        """{stored, version}: whether it was written, which a condition may prevent, and the key's version now.

        Repeated with the same `write_id`, a write that was done is told to have been done. Raises StateTooLarge.
        """
        call = rules.read_call(SetCall, arguments_json)
        options = call.options or SetOptions()
        latest = self.forgotten_at if options.scope is StateScope.INVOCATION else None
        state = StoredState(
            rules.state_key(self.owner, options.scope, call.key),
            rules.value_text(call.value),
            write_id,
            rules.expiry(self.store.clock.now(), options.lifetime_seconds, latest),
        )
        written = self.store.put(state, _condition(options))
        return json.dumps({"stored": written.stored, "version": written.version})

    def delete(self, arguments_json: str) -> str:
        """null; the key is absent from now on, and may have been before."""
        call = rules.read_call(DeleteCall, arguments_json)
        options = call.options or KeyOptions()
        self.store.delete(rules.state_key(self.owner, options.scope, call.key))
        return "null"

    def perform(self, operation: str, arguments_json: str, write_id: str) -> str:
        """What the operation (`state.get`, `state.set` or `state.delete`) answers."""
        match operation:
            case "state.get":
                return self.get(arguments_json)
            case "state.set":
                return self.set(arguments_json, write_id)
            case "state.delete":
                return self.delete(arguments_json)
            case _:
                raise ValidationFailed(f"{operation} is not an operation of fastn.state.")


def _condition(options: SetOptions) -> Condition | None:
    if options.if_absent:
        return Condition(version=None)
    return None if options.if_version is None else Condition(options.if_version)
