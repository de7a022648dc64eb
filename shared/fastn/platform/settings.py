"""The environment, read in this one place."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from fastn.errors import InternalError, UndeclaredNeed
from fastn.platform.resources import Need, Setting, settings_of


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that the declared needs of one function bring."""

    values: Mapping[str, str]
    allowed: frozenset[Setting]

    @classmethod
    def from_environment(cls, needs: frozenset[Need], environment: Mapping[str, str] | None = None) -> "Settings":
        """The settings in this environment (the process's own unless given), limited to these needs."""
        return cls(os.environ if environment is None else environment, frozenset(settings_of(needs)))

    def __getitem__(self, setting: Setting) -> str:
        """The setting's value. Raises UndeclaredNeed if no declared need brings it, InternalError if unset."""
        if setting not in self.allowed:
            raise UndeclaredNeed(f"{setting} belongs to a need this function does not declare")
        try:
            return self.values[setting]
        except KeyError as error:
            raise InternalError(f"the environment lacks {setting}") from error


def lambda_trace_id() -> str | None:
    """The X-Ray trace header Lambda sets for the event being handled; None outside an invocation."""
    return os.environ.get("_X_AMZN_TRACE_ID")
