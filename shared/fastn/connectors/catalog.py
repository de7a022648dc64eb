"""The connectors there are: one folder per slug, each read when it is first asked for."""

from __future__ import annotations

import threading
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastn.connectors.errors import ManifestInvalid
from fastn.connectors.manifest import load_manifest
from fastn.connectors.models import SLUG_PATTERN, Connector, ConnectorSlug, code_name
from fastn.errors import NotFound

_MANIFEST = "manifest.yaml"


class ConnectorCatalog:
    """Connectors by slug and by their name in code. Thread-safe; each manifest is read once per catalog."""

    def __init__(self, root: Traversable | None = None) -> None:
        """`root` has one folder per connector; None means the built-in ones. Nothing is read yet."""
        self._root = root if root is not None else files("fastn.connectors") / "builtin"
        self._loaded: dict[ConnectorSlug, Connector] = {}
        self._names: dict[str, ConnectorSlug] | None = None
        self._lock = threading.RLock()

    def load_connector(self, slug: str) -> Connector:
        """The connector. Raises NotFound if there is none, ManifestInvalid if its manifest is broken."""
        with self._lock:
            known = self._loaded.get(ConnectorSlug(slug))
            return known if known is not None else self._load(slug)

    def find_by_code_name(self, name: str) -> Connector:
        """The connector that workflow code calls by this name. Raises NotFound if there is none."""
        slug = self._code_names().get(name)
        if slug is None:
            raise NotFound
        return self.load_connector(slug)

    def list_connectors(self) -> tuple[Connector, ...]:
        """Every connector, by slug. Raises ManifestInvalid if two slugs have the same name in code."""
        return tuple(self.load_connector(slug) for slug in sorted(self._code_names().values()))

    def _load(self, slug: str) -> Connector:
        # The pattern also keeps the slug from being a path to somewhere else.
        file = self._root / slug / _MANIFEST if SLUG_PATTERN.fullmatch(slug) else None
        if file is None or not file.is_file():
            raise NotFound
        connector = load_manifest(file.read_text("utf-8"), f"{slug}/{_MANIFEST}")
        if connector.slug != slug:
            raise ManifestInvalid(f"{slug}/{_MANIFEST}", "slug", f"'{connector.slug}' is not the folder's name")
        self._loaded[connector.slug] = connector
        return connector

    def _code_names(self) -> dict[str, ConnectorSlug]:
        with self._lock:
            if self._names is None:
                self._names = self._read_code_names()
            return self._names

    def _read_code_names(self) -> dict[str, ConnectorSlug]:
        names: dict[str, ConnectorSlug] = {}
        for folder in sorted(self._root.iterdir(), key=lambda entry: entry.name):
            if not (folder / _MANIFEST).is_file():
                continue
            other = names.setdefault(code_name(folder.name), ConnectorSlug(folder.name))
            if other != folder.name:
                reason = f"'{folder.name}' and '{other}' are both {code_name(folder.name)} in code"
                raise ManifestInvalid(f"{folder.name}/{_MANIFEST}", "slug", reason)
        return names
