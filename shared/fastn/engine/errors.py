"""What the engine refuses, and what stops a guest. What ends a run is a `ScriptError`, not an exception."""

from fastn.engine.models import EngineFault
from fastn.errors import InternalError, ValidationFailed


class ProgramInvalid(ValidationFailed):
    """The program does not parse, imports what it may not, or has no default export.

    `line` and `column` count from 1 in the source as it was given; None where the parser does not tell.
    """

    def __init__(self, message: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message, details={"fault": EngineFault.PROGRAM_INVALID, "line": line, "column": column})
        self.line = line
        self.column = column


class ArtifactsUnusable(InternalError):
    """The compiled engine is missing, or was made by another build; the message names the command that makes it."""


class RunImageUnusable(InternalError):
    """The image is damaged, of another program or of another version: repeat the run from its journal instead."""


class EngineBuildMismatch(RunImageUnusable):
    """The image was taken on another engine build, in whose memory nothing lies where it lies in this one."""


class RunNotWaiting(InternalError):
    """Only a run that waits for its calls has an image: this one is over, closed, or was never advanced."""


class GuestStopped(Exception):
    """The guest was stopped or crashed; its instance must not be entered again."""

    def __init__(self, fault: EngineFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


class GuestThrew(Exception):
    """Guest code threw outside a promise: a parse or link error, or an exhausted heap."""

    def __init__(self, name: str, message: str, stack: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message
        self.stack = stack
