"""Listing what a space can connect to."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from fastn.connectors import store
from fastn.connectors.catalog import ConnectorCatalog
from fastn.connectors.models import AuthMethod, Connector, code_name
from fastn.connectors.store import CustomConnector
from fastn.connectors.views import ActionView, ConnectorView
from fastn.platform.capabilities import Platform
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from fastn.platform.wire import Page, PageRequest

# Built-in connectors have no rows, but a list's cursor is an id: theirs is derived from the slug.
_BUILT_IN = uuid.UUID("0e1d7f3c-7c53-5b0e-9a55-0d8f3b6c1a42")


@dataclass(frozen=True, slots=True)
class ConnectorTools:
    """What it takes to list connectors."""

    database: Database
    catalog: ConnectorCatalog


def connector_tools(platform: Platform) -> ConnectorTools:
    """The tools of this process. Needs DATABASE."""
    return platform.keep(ConnectorTools, lambda: ConnectorTools(platform.database, ConnectorCatalog()))


def list_connectors(tools: ConnectorTools, owner: Scope, page: PageRequest) -> Page[ConnectorView]:
    """The built-in connectors by slug, then the space's own, newest first.

    A cursor that names no built-in connector continues among the space's own.
    """
    after = page.after()
    built_in = tools.catalog.list_connectors()
    ids = [uuid.uuid5(_BUILT_IN, connector.slug) for connector in built_in]
    start = 0 if after is None else ids.index(after) + 1 if after in ids else len(ids)
    wanted = page.limit + 1
    views = [_built_in_view(connector) for connector in built_in[start : start + wanted]]
    listed = ids[start : start + wanted]
    if len(views) < wanted:
        with tools.database.transaction(owner) as session:
            own_after = after if after not in ids else None
            own = store.list_custom_connectors(session, after=own_after, limit=wanted - len(views))
        views += [_custom_view(connector) for connector in own]
        listed += [connector.id for connector in own]
    return Page[ConnectorView].of(views, listed, page.limit)


def _built_in_view(connector: Connector) -> ConnectorView:
    return ConnectorView(
        slug=connector.slug,
        name=connector.name,
        description=connector.description,
        code_name=connector.code_name,
        auth_methods=sorted(connector.auth),
        actions=[ActionView(name=action.name, description=action.description) for action in connector.actions.values()],
        triggers=["webhook"] if connector.webhooks else [],
        visibility="public",
    )


def _custom_view(connector: CustomConnector) -> ConnectorView:
    definition = connector.definition
    return ConnectorView(
        slug=connector.slug,
        name=connector.name,
        description=connector.description,
        code_name=code_name(connector.slug),
        auth_methods=sorted(AuthMethod(method) for method in _members(definition, "auth") if method in set(AuthMethod)),
        actions=[
            ActionView(name=name, description=str(_mapping(action).get("description", "")))
            for name, action in sorted(_members(definition, "actions").items())
        ],
        triggers=["webhook"] if _members(definition, "webhooks") else [],
        visibility=connector.visibility,
    )


def _members(definition: Mapping[str, object], key: str) -> Mapping[str, object]:
    return _mapping(definition.get(key))


def _mapping(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}
