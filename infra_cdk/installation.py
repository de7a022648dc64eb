"""Composes one installation out of its stacks, and binds the functions to them.

Stacks refer to each other in one direction: Network, Data, Messaging and Storage to nothing below them, Api to
those, Events and Engine to those and to the API's address. What would point back (a function that starts the
state machine that calls a function) goes by derived names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import App, Stack

from fastn.http.registry import Registry, load_registry
from fastn.platform.database import Role
from fastn.platform.resources import Setting
from infra_cdk.api import FrontDoor, add_endpoints
from infra_cdk.background import add_background_function
from infra_cdk.bindings import LAMBDA_ENGINE_DIRECTORY, Bindings, SettingValue, fixed, stack_parameter
from infra_cdk.configuration import InstallationConfiguration
from infra_cdk.database import DataStack
from infra_cdk.grants import GrantTargets
from infra_cdk.installation_stack import InstallationStack
from infra_cdk.layer_build import BuiltLayers, LayerArchives
from infra_cdk.layers import LayerShelf
from infra_cdk.messaging import MessagingStack
from infra_cdk.names import INSTANT_EXECUTOR, Machine, function_arn, function_name, machine_arn
from infra_cdk.network import NetworkStack
from infra_cdk.observability import ObservabilityStack
from infra_cdk.platform_function import FunctionFactory
from infra_cdk.state_machines import RunMachine
from infra_cdk.storage import StorageStack

API_ROOMS = frozenset({"api", "webhooks", "gateways"})
ENGINE_ROOMS = frozenset({"executors"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """The stacks that functions stand on. Network and data are None in the local stage."""

    messaging: MessagingStack
    storage: StorageStack
    network: NetworkStack | None
    data: DataStack | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What an installation is made from."""

    root: Path
    """The directory that holds `functions/` and `statemachines/`."""
    staging: Path
    """Where each function's code is set aside to be zipped."""
    registry: Registry
    layers: LayerArchives

    @classmethod
    def of_checkout(cls, root: Path) -> "Sources":
        """The sources of a checkout, with `root/build` for what is built. Imports every function."""
        build = root / "build"
        return cls(
            root=root,
            staging=build / "functions",
            registry=load_registry(root),
            layers=BuiltLayers(root, build / "layers"),
        )


def compose(app: App, configuration: InstallationConfiguration, sources: Sources) -> None:
    """Adds every stack of this installation to the app."""
    foundation = _lay_foundation(app, configuration, sources.registry)
    api = InstallationStack(app, "Api", configuration, description="The HTTP API and a function for each of its routes")
    front_door = FrontDoor(api, configuration)
    bindings = _bind(configuration, foundation, front_door)
    add_endpoints(api, front_door, _factory(api, sources, bindings), sources.registry.endpoints())

    events = InstallationStack(app, "Events", configuration, description="The functions that events pass through")
    engine = InstallationStack(app, "Engine", configuration, description="The executors and their state machines")
    factories = {stack: _factory(stack, sources, bindings) for stack in (events, engine)}
    for function in sources.registry.functions:
        room = function.file.split("/")[1]
        if room not in API_ROOMS:
            stack = engine if room in ENGINE_ROOMS else events
            add_background_function(stack, function, factory=factories[stack], messaging=foundation.messaging)
    for machine in Machine:
        RunMachine(engine, machine, root=sources.root, installation=configuration.stage)
    ObservabilityStack(app, configuration, foundation.messaging, api_id=front_door.api.api_id)


def _lay_foundation(app: App, configuration: InstallationConfiguration, registry: Registry) -> Foundation:
    declarations = [function.declaration for function in registry.functions]
    network = None if configuration.is_local else NetworkStack(app, configuration)
    return Foundation(
        messaging=MessagingStack(app, configuration, declarations),
        storage=StorageStack(app, configuration),
        network=network,
        data=None if network is None else DataStack(app, configuration, network),
    )


def _factory(stack: Stack, sources: Sources, bindings: Bindings) -> FunctionFactory:
    layers = None if bindings.configuration.is_local else LayerShelf(stack, sources.layers)
    return FunctionFactory(sources.root, sources.staging, bindings, layers)


def _bind(configuration: InstallationConfiguration, foundation: Foundation, front_door: FrontDoor) -> Bindings:
    installation, messaging, storage = configuration.stage, foundation.messaging, foundation.storage
    machines = {machine: machine_arn(installation, machine) for machine in Machine}
    return Bindings(
        configuration=configuration,
        placement=foundation.network.placement if foundation.network else None,
        grants=GrantTargets(
            tenant_key=storage.tenant_key.key_arn,
            trigger_table=storage.triggers.table_arn,
            marker_table=storage.markers.table_arn,
            state_table=storage.state.table_arn,
            cancel_flag_table=storage.cancel_flags.table_arn,
            relay_queue=messaging.relay.queue_arn,
            raw_event_queue=messaging.raw_events.queue_arn,
            event_bus=messaging.bus.event_bus_arn,
            machines=tuple(machines.values()),
            instant_function=function_arn(installation, INSTANT_EXECUTOR),
            database_logins=foundation.data.logins if foundation.data else {},
            provisioner_login=foundation.data.provisioner_login if foundation.data else None,
        ),
        setting_values={
            Setting.INSTALLATION: fixed(installation),
            Setting.TENANT_KEY_ARN: fixed(storage.tenant_key.key_arn),
            Setting.TRIGGER_TABLE: fixed(storage.triggers.table_name),
            Setting.MARKER_TABLE: fixed(storage.markers.table_name),
            Setting.STATE_TABLE: fixed(storage.state.table_name),
            Setting.CANCEL_FLAG_TABLE: fixed(storage.cancel_flags.table_name),
            Setting.RELAY_QUEUE_URL: fixed(messaging.relay.queue_url),
            Setting.RAW_EVENT_QUEUE_URL: fixed(messaging.raw_events.queue_url),
            Setting.EVENT_BUS_NAME: fixed(messaging.bus.event_bus_name),
            Setting.STANDARD_STATE_MACHINE_ARN: fixed(machines[Machine.STANDARD]),
            Setting.LONG_STATE_MACHINE_ARN: fixed(machines[Machine.LONG]),
            Setting.INSTANT_FUNCTION_NAME: fixed(function_name(installation, INSTANT_EXECUTOR)),
            **_settings_of_place(foundation.data, front_door),
        },
    )


def _settings_of_place(data: DataStack | None, front_door: FrontDoor) -> Mapping[Setting, SettingValue]:
    if data is not None:
        return {
            Setting.PUBLIC_URL: fixed(front_door.url),
            Setting.DATABASE_URL: fixed(data.url(Role.APP)),
            Setting.INGRESS_DATABASE_URL: fixed(data.url(Role.INGRESS)),
            Setting.RELAY_DATABASE_URL: fixed(data.url(Role.RELAY)),
            Setting.TENANT_DATABASE_URL: fixed(data.provisioner_url),
            Setting.ENGINE_DIRECTORY: fixed(LAMBDA_ENGINE_DIRECTORY),
        }
    return {
        Setting.PUBLIC_URL: stack_parameter("PublicUrl", "Where the API is reached"),
        Setting.DATABASE_URL: stack_parameter("DatabaseUrl", "Tenant data, as fastn_app", secret=True),
        Setting.INGRESS_DATABASE_URL: stack_parameter("IngressDatabaseUrl", "API keys, as fastn_ingress", secret=True),
        Setting.RELAY_DATABASE_URL: stack_parameter("RelayDatabaseUrl", "The outbox, as fastn_relay", secret=True),
        Setting.TENANT_DATABASE_URL: stack_parameter(
            "TenantDatabaseUrl", "Tenants' own databases, as fastn_provisioner", secret=True
        ),
        Setting.ENGINE_DIRECTORY: stack_parameter("EngineDirectory", "The compiled JavaScript engine"),
    }
