"""Data keys from AWS KMS: one KMS key for the installation, the tenant in the encryption context.

https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKey.html: the context is additional
authenticated data, so KMS itself refuses to open one tenant's key under another's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastn.secrets.errors import DecryptionFailed, KeyServiceUnavailable
from fastn.secrets.models import NewDataKey

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_WRONG_CIPHERTEXT = frozenset(("InvalidCiphertextException", "IncorrectKeyException"))


class KmsKeyService:
    """The KeyService of an installation."""

    def __init__(self, client: KMSClient, key_arn: str) -> None:
        self._client = client
        self._key_arn = key_arn

    def generate_data_key(self, context: Mapping[str, str]) -> NewDataKey:
        """A new 256-bit key bound to the context. Raises KeyServiceUnavailable."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            made = self._client.generate_data_key(
                KeyId=self._key_arn, KeySpec="AES_256", EncryptionContext=dict(context)
            )
        except (BotoCoreError, ClientError) as error:
            raise KeyServiceUnavailable("A data key could not be made.") from error
        return NewDataKey(made["Plaintext"], made["CiphertextBlob"])

    def decrypt(self, encrypted: bytes, context: Mapping[str, str]) -> bytes:
        """The key's plaintext. Raises DecryptionFailed on another context or key, KeyServiceUnavailable."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            opened = self._client.decrypt(
                CiphertextBlob=encrypted, KeyId=self._key_arn, EncryptionContext=dict(context)
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _WRONG_CIPHERTEXT:
                raise DecryptionFailed("The data key cannot be opened.") from error
            raise KeyServiceUnavailable("The data key could not be opened.") from error
        except BotoCoreError as error:
            raise KeyServiceUnavailable("The data key could not be opened.") from error
        return opened["Plaintext"]
