"""What can go wrong while the embedded runtime starts.

LocalRuntimeError
├── AlreadyRunning      another supervisor owns this checkout's .fastn directory
├── StartFailed         a process did not come up
└── DeployFailed        a stack was refused; names the resource and the reason
"""

from fastn.errors import InternalError


class LocalRuntimeError(InternalError):
    """The embedded runtime could not do what was asked."""


class AlreadyRunning(LocalRuntimeError):
    """Another supervisor owns this checkout's .fastn directory."""


class StartFailed(LocalRuntimeError):
    """A process of the runtime did not come up; the message names its log file."""


class DeployFailed(LocalRuntimeError):
    """CloudFormation refused a stack; the message names the resource and its reason."""
