"""Every error the platform reports, as one tree.

FastnError
├── Unauthorized            401 UNAUTHORIZED
├── Forbidden               403 FORBIDDEN
├── NotFound                404 NOT_FOUND
├── ValidationFailed        400 VALIDATION_FAILED
├── Conflict                409 CONFLICT
├── PreconditionFailed      412 PRECONDITION_FAILED
├── PayloadTooLarge         413 PAYLOAD_TOO_LARGE
├── TimedOut                408 TIMED_OUT
├── TooManyRequests         429 RATE_LIMITED
├── DatasourceError         400 DATASOURCE_CONNECTION_ERROR   (a vendor call failed)
│   ├── AuthExpired             the vendor refused the stored credential
│   ├── RateLimited             the vendor asked us to slow down
│   ├── Rejected                the vendor understood the call and refused it
│   └── Unavailable             the vendor could not be reached, or answered 5xx
└── InternalError           500 INTERNAL_ERROR
    └── UndeclaredNeed          a function used a capability it does not declare

The codes are those of the API reference, plus four it lacks (VALIDATION_FAILED, CONFLICT,
PRECONDITION_FAILED, PAYLOAD_TOO_LARGE). A code, once published, never changes its meaning.
"""

from collections.abc import Mapping
from typing import ClassVar

JsonObject = Mapping[str, object]


class FastnError(Exception):
    """An error with a stable code, an HTTP status and a public message that says what to do."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, details: JsonObject | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Unauthorized(FastnError):
    """The caller presented no credential, or one that is not valid."""

    code = "UNAUTHORIZED"
    status = 401


class Forbidden(FastnError):
    """The caller is known, but lacks the permission this operation declares."""

    code = "FORBIDDEN"
    status = 403


class NotFound(FastnError):
    """The resource does not exist, or belongs to somebody else: the two are never told apart."""

    code = "NOT_FOUND"
    status = 404
    MESSAGE: ClassVar[str] = "The resource does not exist, or you do not have access."

    def __init__(self) -> None:
        super().__init__(self.MESSAGE)


class ValidationFailed(FastnError):
    """The request cannot be understood; `details` names each offending field."""

    code = "VALIDATION_FAILED"
    status = 400


class Conflict(FastnError):
    """The request contradicts what is stored, such as a name that is taken."""

    code = "CONFLICT"
    status = 409


class PreconditionFailed(FastnError):
    """The resource changed since the revision named in If-Match."""

    code = "PRECONDITION_FAILED"
    status = 412


class PayloadTooLarge(FastnError):
    """The body is larger than this endpoint takes."""

    code = "PAYLOAD_TOO_LARGE"
    status = 413


class TimedOut(FastnError):
    """The run exceeded its own maximum time."""

    code = "TIMED_OUT"
    status = 408


class TooManyRequests(FastnError):
    """The caller is over a limit of its plan."""

    code = "RATE_LIMITED"
    status = 429
    retryable = True


class DatasourceError(FastnError):
    """A connector failed to talk to its vendor; `datasource_debug` holds the vendor's own words."""

    code = "DATASOURCE_CONNECTION_ERROR"
    status = 400

    def __init__(
        self,
        message: str,
        *,
        step: str | None = None,
        datasource_debug: JsonObject | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.datasource_debug = datasource_debug
        self.retry_after_seconds = retry_after_seconds


class AuthExpired(DatasourceError):
    """The vendor refused the stored credential: the customer must connect again."""


class RateLimited(DatasourceError):
    """The vendor asked us to slow down; `retry_after_seconds` is its wish, where it told one."""

    retryable = True


class Rejected(DatasourceError):
    """The vendor understood the call and refused it; repeating it unchanged will not help."""


class Unavailable(DatasourceError):
    """The vendor could not be reached, timed out, or answered 5xx."""

    retryable = True


class InternalError(FastnError):
    """Something in the platform failed; the message shown to the caller says no more than that."""


class UndeclaredNeed(InternalError):
    """A function used a capability its declaration does not name (AWS would answer AccessDenied)."""
