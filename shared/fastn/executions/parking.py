"""Images of waiting runs at rest: sealed for one place in one run of one tenant, kept in S3.

An image is trusted input of the engine, so none is opened that was not sealed here for the very run, wait and
engine build it is opened for. One that is missing or refused is no loss: the run is repeated from its journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from fastn.errors import InternalError
from fastn.platform.ids import ExecutionId
from fastn.platform.scope import Scope
from fastn.secrets.errors import DecryptionFailed

if TYPE_CHECKING:
    from fastn.secrets.vault import TenantVault

KEY_PREFIX = "run-images"
NOT_FOUND_CODES = frozenset(("NoSuchKey", "404"))


class ImageRefused(InternalError):
    """The image was changed, or sealed for another tenant, run, wait or engine build; which is not said."""


class ImageStoreUnavailable(InternalError):
    """The store did not answer, or refused this function the permission."""

    retryable = True


@dataclass(frozen=True, slots=True)
class ImageBinding:
    """Where an image belongs: the run (its scope names the tenant), its how-manieth wait, the engine build."""

    scope: Scope
    execution_id: ExecutionId
    sequence: int
    engine_build: str

    @property
    def purpose(self) -> str:
        """What the encryption is bound to beside the tenant; no two bindings of a tenant share one."""
        return f"run-image/{self.execution_id}/{self.sequence}/{self.engine_build}"

    @property
    def key(self) -> str:
        """The image's name in a store; those of one run share everything up to the last slash."""
        scope = self.scope
        owner = f"{scope.organization_id}/{scope.space_id}/{scope.tenant_id}"
        return f"{KEY_PREFIX}/{owner}/{self.execution_id}/{self.sequence}-{self.engine_build}"


def seal_image(image: bytes, binding: ImageBinding, *, vault: TenantVault) -> bytes:
    """The image, encrypted and authenticated with the tenant's data key.

    Raises ValueError if the scope names no tenant, KeyServiceUnavailable.
    """
    return vault.encrypt(binding.scope, image, purpose=binding.purpose)


def open_image(sealed: bytes, binding: ImageBinding, *, vault: TenantVault) -> bytes:
    """The image that was sealed with this binding. Raises ImageRefused for any other, KeyServiceUnavailable."""
    try:
        return vault.decrypt(binding.scope, sealed, purpose=binding.purpose)
    except DecryptionFailed as error:
        raise ImageRefused("The image of the run cannot be opened.") from error


class ImageStore(Protocol):
    """Keeps sealed images. Every method raises ImageStoreUnavailable."""

    def put(self, binding: ImageBinding, sealed: bytes) -> None:
        """Keeps the image durably before it returns; one kept under the same binding is replaced."""
        ...

    def find(self, binding: ImageBinding) -> bytes | None:
        """The image kept under this binding; None if there is none (any more)."""
        ...

    def delete(self, binding: ImageBinding) -> None:
        """Forgets the image; nothing happens if there is none."""
        ...


class ObjectClient(Protocol):
    """What is used of boto3's S3 client."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> object: ...  # noqa: N803 (AWS's names)
    def get_object(self, *, Bucket: str, Key: str) -> Mapping[str, Any]: ...  # noqa: N803 (as above)
    def delete_object(self, *, Bucket: str, Key: str) -> object: ...  # noqa: N803 (as above)


class S3ImageStore:
    """The ImageStore in a bucket, below `run-images/`; a lifecycle rule there bounds how long images last.

    The role needs s3:ListBucket beside the object permissions: without it S3 answers 403 for a missing object
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html), which is reported as unavailable.
    """

    def __init__(self, client: ObjectClient, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, binding: ImageBinding, sealed: bytes) -> None:
        """Keeps the image durably before it returns; one kept under the same binding is replaced."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.put_object(Bucket=self._bucket, Key=binding.key, Body=sealed)
        except (BotoCoreError, ClientError) as error:
            raise ImageStoreUnavailable("The image of the run could not be kept.") from error

    def find(self, binding: ImageBinding) -> bytes | None:
        """The image kept under this binding; None if there is none (any more)."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._client.get_object(Bucket=self._bucket, Key=binding.key)
            return cast("bytes", found["Body"].read())
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in NOT_FOUND_CODES:
                return None
            raise ImageStoreUnavailable("The image of the run could not be read.") from error
        except BotoCoreError as error:
            raise ImageStoreUnavailable("The image of the run could not be read.") from error

    def delete(self, binding: ImageBinding) -> None:
        """Forgets the image; nothing happens if there is none."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.delete_object(Bucket=self._bucket, Key=binding.key)
        except (BotoCoreError, ClientError) as error:
            raise ImageStoreUnavailable("The image of the run could not be deleted.") from error
