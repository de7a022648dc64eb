"""The secrets that one run has used, and how they are kept out of everything it leaves behind."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from fastn.secrets.rules import SecretMask


@dataclass(slots=True)
class UsedSecrets:
    """Grows as the run uses credentials and secrets; all that its host calls share knows the same ones."""

    _values: set[str] = field(default_factory=set[str], repr=False)
    _mask: SecretMask = field(default_factory=lambda: SecretMask(()), repr=False)

    def add(self, values: Iterable[str]) -> None:
        """From now on these values are masked too."""
        new = set(values) - self._values
        if new:
            self._values |= new
            self._mask = SecretMask(self._values)

    def masked(self, text: str) -> str:
        """The text with every value replaced."""
        return self._mask.mask(text)

    def masked_json(self, json_text: str) -> str:
        """The same for JSON text: values and member names are masked one by one, so it stays JSON."""
        if self.masked(json_text) == json_text:
            return json_text
        return json.dumps(self._masked_value(json.loads(json_text)))

    def are_in_json(self, json_text: str) -> bool:
        """Whether a value or member name of this JSON holds one of them."""
        return self.masked_json(json_text) != json_text

    def _masked_value(self, value: object) -> object:
        if isinstance(value, Mapping):
            members = cast("Mapping[str, object]", value).items()
            return {self.masked(name): self._masked_value(member) for name, member in members}
        if isinstance(value, list):
            return [self._masked_value(element) for element in cast("list[object]", value)]
        if value is None or isinstance(value, bool):
            return value
        masked = self.masked(str(value))
        return value if masked == str(value) else masked
