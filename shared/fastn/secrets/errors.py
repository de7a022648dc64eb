"""What can fail around keys and ciphertexts."""

from fastn.errors import FastnError, InternalError


class DecryptionFailed(InternalError):
    """The ciphertext is not what this tenant encrypted for this purpose; which of these it was is not said."""


class KeyServiceUnavailable(InternalError):
    """The key service did not answer, or refused this function the permission."""

    retryable = True


class SecretMissing(FastnError):
    """The tenant has no named secret, or no version of it, as the run asks for."""

    code = "NOT_FOUND"
    status = 404
