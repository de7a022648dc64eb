"""Gap: the emulator's KMS keys live in memory, so a restart would make every stored secret unreadable.

A key of the template gets the id and the material that a seed kept in the state directory gives it: the
same at every start. Whoever wipes the directory wipes the keys with the data they opened.
"""

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

SEED_BYTES = 32

Created = tuple[str, dict[str, str]]
Create = Callable[[str, Mapping[str, Any], str], Created]


def keep_template_keys(seed_file: Path) -> None:
    """Has every symmetric key that CloudFormation makes from now on come out the same for the same seed."""
    seed = read_seed(seed_file)
    provisioners: Any = import_module("ministack.services.cloudformation.provisioners")
    kms: Any = import_module("ministack.services.kms")
    handlers: dict[str, Any] = provisioners._RESOURCE_HANDLERS["AWS::KMS::Key"]
    handlers["create"] = _keeping(handlers["create"], kms, seed)


def read_seed(file: Path) -> bytes:
    """The kept seed; made on the first call."""
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(secrets.token_bytes(SEED_BYTES))
    return file.read_bytes()


def derived(seed: bytes, purpose: str) -> bytes:
    """32 bytes that only this seed and purpose give."""
    return hmac.digest(seed, purpose.encode(), hashlib.sha256)


def _keeping(create: Create, kms: Any, seed: bytes) -> Create:
    def create_kept(logical_id: str, properties: Mapping[str, Any], stack: str) -> Created:
        key_id, attributes = create(logical_id, properties, stack)
        record = kms._keys[key_id]
        if "_symmetric_key" not in record:
            return key_id, attributes
        name = f"{stack}/{logical_id}"
        kept_id = str(uuid.UUID(bytes=derived(seed, f"id {name}")[:16], version=4))
        del kms._keys[key_id]
        record.update(KeyId=kept_id, Arn=kms._arn(kept_id), _symmetric_key=derived(seed, f"material {name}"))
        kms._keys[kept_id] = record
        return kept_id, {"Arn": record["Arn"], "KeyId": kept_id}

    return create_kept
