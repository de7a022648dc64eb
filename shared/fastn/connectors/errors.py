"""What can be wrong with a connector itself; failed vendor calls are `fastn.errors.DatasourceError`s."""

from fastn.errors import ValidationFailed


class ManifestInvalid(ValidationFailed):
    """A manifest breaks the language's rules; the message names the file, the key and the reason."""

    def __init__(self, file: str, key: str, reason: str) -> None:
        where = f"{file}: {key}" if key else file
        super().__init__(f"{where}: {reason}", details={"file": file, "key": key, "reason": reason})
        self.file = file
        self.key = key
        self.reason = reason
