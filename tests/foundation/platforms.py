"""What the shared fixtures hand to a test, and their types."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from fastn.access.models import IssuedKey, KeyMode, Permission
from fastn.platform.capabilities import ClientFactory, Platform
from fastn.platform.clock import Clock
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope

EVERY_PERMISSION: tuple[Permission, ...] = tuple(Permission)

# Names as the CDK app would put them; tests that use one create the resource of that name in moto.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        Setting.INSTALLATION: "tests",
        Setting.PUBLIC_URL: "https://api.example.test",
        Setting.ENGINE_DIRECTORY: "build/engine",
        Setting.TENANT_KEY_ARN: "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555",
        Setting.TENANT_DATABASE_URL: "postgresql://fastn_provisioner@127.0.0.1:1/fastn_tenants",
        Setting.TRIGGER_TABLE: "triggers",
        Setting.MARKER_TABLE: "outbox-markers",
        Setting.STATE_TABLE: "workflow-state",
        Setting.CANCEL_FLAG_TABLE: "cancel-flags",
        Setting.RELAY_QUEUE_URL: "https://sqs.eu-west-1.amazonaws.com/123456789012/relay",
        Setting.RAW_EVENT_QUEUE_URL: "https://sqs.eu-west-1.amazonaws.com/123456789012/raw-events",
        Setting.EVENT_BUS_NAME: "events",
        Setting.STANDARD_STATE_MACHINE_ARN: "arn:aws:states:eu-west-1:123456789012:stateMachine:standard",
        Setting.LONG_STATE_MACHINE_ARN: "arn:aws:states:eu-west-1:123456789012:stateMachine:long",
        Setting.INSTANT_FUNCTION_NAME: "execute_instant",
    }
)


class PlatformFor(Protocol):
    """Builds a Platform on this test's database."""

    def __call__(
        self,
        needs: Iterable[Need],
        *,
        clients: ClientFactory | None = None,
        clock: Clock | None = None,
        settings: Mapping[str, str] | None = None,
        loopback_routes: Mapping[str, int] | None = None,
    ) -> Platform:
        """`settings` are laid over SETTINGS; without `clients`, asking for an AWS client fails the test."""
        ...


class IssueKey(Protocol):
    """Issues an API key of a scope."""

    def __call__(
        self, scope: Scope, *, permissions: Iterable[str] = EVERY_PERMISSION, mode: KeyMode = KeyMode.LIVE
    ) -> IssuedKey:
        """Restricted to the scope's tenant, if it has one."""
        ...


def no_clients(service: str) -> Any:  # as ClientFactory
    """Fails the test: it said nothing of AWS."""
    raise AssertionError(f"this test gave the platform no client for {service}")
