"""What can go wrong with an event."""

from fastn.errors import InternalError, Unauthorized


class SignatureRefused(Unauthorized):
    """The delivery is not signed as its trigger demands; `details.reason` says how."""


class PublishFailed(InternalError):
    """The bus did not take every event; those it refused stay in the outbox."""

    retryable = True
