"""A function gets what it declares, built once, and nothing else."""

from typing import Any

import pytest

from fastn.errors import InternalError, UndeclaredNeed
from fastn.platform.capabilities import SERVICE_OF_NEED, Platform
from fastn.platform.resources import ALWAYS, SETTINGS_OF_NEED, Need, Setting, settings_of
from fastn.platform.settings import Settings
from tests.foundation.platforms import PlatformFor


def _platform(*needs: Need, **environment: str) -> Platform:
    declared = frozenset(needs)
    return Platform(declared, Settings.from_environment(declared, environment), clients=_Clients())


class _Clients:
    """Counts the clients it makes."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, service: str) -> Any:  # as ClientFactory
        self.made.append(service)
        return f"client of {service}"


@pytest.mark.parametrize("name", ["database", "ingress_database", "relay_database"])
def test_a_database_that_was_not_declared_is_refused(name: str) -> None:
    with pytest.raises(UndeclaredNeed):
        getattr(_platform(Need.EGRESS), name)


@pytest.mark.parametrize("need", sorted(SERVICE_OF_NEED))
def test_a_client_that_was_not_declared_is_refused(need: Need) -> None:
    with pytest.raises(UndeclaredNeed, match=need.name):
        _platform(Need.DATABASE).client(need)


@pytest.mark.parametrize(("need", "service"), sorted(SERVICE_OF_NEED.items()))
def test_a_declared_need_brings_its_client(need: Need, service: str) -> None:
    assert _platform(need).client(need) == f"client of {service}"


def test_needs_of_one_service_share_a_client() -> None:
    clients = _Clients()
    needs = frozenset({Need.RELAY_NUDGE, Need.RAW_EVENTS})
    platform = Platform(needs, Settings.from_environment(needs, {}), clients=clients)

    for need in (Need.RELAY_NUDGE, Need.RAW_EVENTS, Need.RELAY_NUDGE):
        platform.client(need)

    assert clients.made == ["sqs"]


def test_the_three_databases_are_three_roles(platform_for: PlatformFor) -> None:
    platform = platform_for([Need.DATABASE, Need.INGRESS_DATABASE, Need.RELAY_DATABASE])
    roles: list[object] = []
    for database in (platform.database, platform.ingress_database, platform.relay_database):
        with database.transaction(None) as session:
            row = session.execute("SELECT current_user::text AS name").fetchone()
            roles.append(row["name"] if row else None)

    assert roles == ["fastn_app", "fastn_ingress", "fastn_relay"]
    assert platform.database is platform.database


def test_a_url_without_a_password_logs_in_with_a_token_signed_for_its_role() -> None:
    asked: list[dict[str, object]] = []

    class _Rds:
        def generate_db_auth_token(self, **arguments: object) -> str:
            asked.append(arguments)
            return "token"

    def rds(service: str) -> Any:  # as ClientFactory
        assert service == "rds"
        return _Rds()

    needs = frozenset({Need.DATABASE})
    settings = Settings.from_environment(needs, {Setting.DATABASE_URL: "postgresql://fastn_app@127.0.0.1:1/fastn"})
    platform = Platform(needs, settings, clients=rds)

    with pytest.raises(InternalError), platform.database.transaction(None):
        pass

    assert asked == [{"DBHostname": "127.0.0.1", "Port": 1, "DBUsername": "fastn_app"}]


def test_what_is_kept_is_built_once() -> None:
    platform = _platform()
    built = [platform.keep(_Clients, _Clients) for _ in range(3)]

    assert built[0] is built[1] is built[2]


def test_a_setting_of_an_undeclared_need_is_refused_even_if_it_is_set() -> None:
    platform = _platform(Need.EGRESS, **{Setting.DATABASE_URL: "postgresql://x"})

    with pytest.raises(UndeclaredNeed):
        platform.settings[Setting.DATABASE_URL]  # pyright: ignore[reportUnusedExpression]  # the subscription raises


def test_a_setting_that_is_missing_is_an_internal_error_naming_it() -> None:
    with pytest.raises(InternalError, match="FASTN_DATABASE_URL"):
        _platform(Need.DATABASE).settings[Setting.DATABASE_URL]  # pyright: ignore[reportUnusedExpression]  # as above


def test_every_need_says_which_settings_it_brings() -> None:
    assert set(SETTINGS_OF_NEED) == set(Need)


def test_every_setting_is_brought_by_a_need_or_always_there() -> None:
    brought = {setting for settings in SETTINGS_OF_NEED.values() for setting in settings} | set(ALWAYS)

    assert brought == set(Setting)


def test_settings_come_in_a_stable_order_without_repetition() -> None:
    settings = settings_of(frozenset({Need.TRIGGER_PROJECTION_WRITE, Need.DATABASE, Need.TRIGGER_PROJECTION}))

    assert settings == (Setting.INSTALLATION, Setting.PUBLIC_URL, Setting.DATABASE_URL, Setting.TRIGGER_TABLE)
