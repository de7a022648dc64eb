"""What can fail around keys and ciphertexts."""

from fastn.errors import InternalError


class DecryptionFailed(InternalError):
    """The ciphertext is not what this tenant encrypted for this purpose; which of these it was is not said."""


class KeyServiceUnavailable(InternalError):
    """The key service did not answer, or refused this function the permission."""

    retryable = True
