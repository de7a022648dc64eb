"""What can go wrong with a run, as its caller sees it."""

from fastn.errors import Conflict, FastnError, InternalError


class FlowFailed(FastnError):
    """The workflow's own code threw; `details` names the execution and the error."""

    code = "INTERNAL_ERROR"
    status = 500


class ReplayDiverged(InternalError):
    """A relaunched run asked for another host call than its journal recorded at that place."""


class RunSuperseded(Conflict):
    """Another launch of the same run recorded this step first."""
