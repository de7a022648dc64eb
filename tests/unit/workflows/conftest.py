"""Workflows in a real database, and a source check that only looks for a default export."""

from collections.abc import Callable
from typing import Any

import pytest

from fastn.access.models import KeyMode, Principal
from fastn.engine.languages import Language
from fastn.errors import ValidationFailed
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.ids import WorkflowId, new_id
from fastn.platform.scope import Scope
from fastn.workflows import service
from fastn.workflows.models import (
    CreateWorkflow,
    DeploymentOrder,
    DeploymentView,
    DeployWorkflow,
    VersionView,
    WorkflowView,
)


def check_source(source: str, language: Language) -> None:
    """Stands in for the engine: a workflow has a default export."""
    if "export default" not in source:
        raise ValidationFailed(f"no default export in this {language}")


class Desk:
    """Creates, publishes and deploys workflows for one customer."""

    def __init__(self, database: Database, scope: Scope, clock: FrozenClock) -> None:
        self.database = database
        self.scope = scope
        self.clock = clock

    def create(self, name: str, **members: Any) -> WorkflowView:  # any member of the body
        """A new draft."""
        self.clock.advance(1)
        body = CreateWorkflow(name=name, **members)
        return service.create_workflow(
            self.database, self.scope, body=body, check_source=check_source, clock=self.clock
        )

    def publish(self, workflow: WorkflowView) -> VersionView:
        """Its next version."""
        self.clock.advance(1)
        return service.publish_workflow(
            self.database, self.scope, workflow_id=WorkflowId(workflow.id), actor="api_key:1", clock=self.clock
        )

    def deploy(
        self, workflow: WorkflowView, environment: str = "production", *, version: int | None = None
    ) -> DeploymentView:
        """Sends a version there, with a Live key."""
        self.clock.advance(1)
        principal = Principal(new_id(self.clock.now()), KeyMode.LIVE, self.scope, frozenset())
        body = DeployWorkflow(environment=environment, version=version)
        order = DeploymentOrder(WorkflowId(workflow.id), body, principal)
        return service.deploy_workflow(self.database, self.scope, order=order, clock=self.clock)

    def live(self, name: str, environment: str = "production", **members: Any) -> WorkflowView:  # as create
        """A workflow whose first version runs there."""
        workflow = self.create(name, **members)
        self.publish(workflow)
        self.deploy(workflow, environment)
        return workflow


DeskFor = Callable[[Scope], Desk]


@pytest.fixture
def desk_for(database: Database, clock: FrozenClock) -> DeskFor:
    """The desk of any customer."""
    return lambda scope: Desk(database, scope, clock)


@pytest.fixture
def desk(desk_for: DeskFor, customer: Scope) -> Desk:
    """The customer's desk."""
    return desk_for(customer)
