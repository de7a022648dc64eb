"""What can go wrong with a run, as its caller sees it."""

from fastn.errors import Conflict, FastnError, InternalError


class FlowFailed(FastnError):
    """The workflow's own code threw; `details` names the execution and the error."""

    code = "INTERNAL_ERROR"
    status = 500


class ExecutionCancelled(Conflict):
    """The run was cancelled while its caller waited for it; `details` names the execution."""


class ExecutionEnded(Conflict):
    """The run has ended, so it cannot be cancelled; `details` names its status."""


class NotRerunnable(Conflict):
    """The run cannot be run again in this way; the message says why."""


class ReplayDiverged(InternalError):
    """A relaunched run asked for another host call than its journal recorded at that place."""


class RunSuperseded(Conflict):
    """Another launch of the same run recorded this step first."""


class RunCannotResume(Conflict):
    """What the run's journal refers to is gone, so it cannot be told again what it was told before."""
