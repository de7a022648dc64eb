"""How an API key is spelt, made and compared; nothing here touches a database."""

import base64
import hashlib
import hmac
import re
import uuid

from fastn.access.models import KeyMode, PresentedKey, StoredKey

_KEY = re.compile(r"wak_(test|live)_([0-9a-f]{32})_([A-Za-z0-9_-]{43})", re.ASCII)
SECRET_BYTES = 32


def parse_api_key(text: str) -> PresentedKey | None:
    """The parts of a well-formed key; None for anything else."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    mode, key_id, secret = match.groups()
    return PresentedKey(KeyMode(mode), uuid.UUID(key_id), secret)


def spell_api_key(mode: KeyMode, key_id: uuid.UUID, secret: str) -> str:
    """The key as its holder sends it."""
    return f"wak_{mode}_{key_id.hex}_{secret}"


def spell_secret(random_bytes: bytes) -> str:
    """The secret part from 32 random bytes: 43 URL-safe characters."""
    return base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()


def hash_secret(secret: str) -> bytes:
    """What is stored. The secret has 256 random bits, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(secret.encode()).digest()


def opens(presented: PresentedKey, stored: StoredKey) -> bool:
    """Whether the presented secret is the stored key's, compared in constant time."""
    same_secret = hmac.compare_digest(hash_secret(presented.secret), stored.secret_sha256)
    return same_secret and presented.mode is stored.mode and stored.revoked_at is None
