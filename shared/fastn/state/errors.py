"""What can go wrong with workflow state, as a program sees it."""

from fastn.errors import InternalError, PayloadTooLarge, ValidationFailed


class StateTooLarge(PayloadTooLarge):
    """The value does not fit into one item; `details` has sizeBytes and limitBytes."""


class StateHoldsSecret(ValidationFailed):
    """The key or value holds a secret that this run has used; state is not where secrets are kept."""


class StateUnavailable(InternalError):
    """DynamoDB did not answer."""

    retryable = True
