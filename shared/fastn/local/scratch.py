"""Short-named directories below the system's temporary one, for what a checkout cannot hold.

A unix socket's path may have 107 bytes, and PostgreSQL's user may not be able to walk into a checkout.
"""

import os
import tempfile
from hashlib import sha256
from pathlib import Path

from fastn.local.errors import StartFailed


def directory_for(original: Path) -> Path:
    """The substitute for a directory: the same for the same original, created if need be.

    Others may pass through it but not list it. Raises StartFailed if it belongs to somebody else.
    """
    key = sha256(str(original.resolve()).encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"fastn-{key}"
    directory.mkdir(mode=0o711, exist_ok=True)
    if directory.stat().st_uid != os.geteuid():
        raise StartFailed(f"{directory} belongs to somebody else; remove it")
    return directory
