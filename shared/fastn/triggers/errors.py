"""What can go wrong with triggers beyond the common tree."""

from fastn.errors import InternalError


class ProjectionUnavailable(InternalError):
    """DynamoDB did not take or give a trigger's projection; repeating the operation is safe."""

    retryable = True
