"""How API keys are spelt, issued and recognised."""

import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.access import rules, service
from fastn.access.models import KeyMode, Permission
from fastn.access.service import Authenticator
from fastn.access.store import list_spaces_with_keys
from fastn.errors import Unauthorized
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database, Role, Session
from fastn.platform.scope import Scope
from fastn.tenants.models import FoundedSpace
from tests.foundation.platforms import IssueKey

KEY_ID = uuid.UUID(int=42)
SECRET = rules.spell_secret(b"\x01" * 32)


@pytest.fixture
def authenticator(ingress_database: Database, clock: FrozenClock) -> Authenticator:
    """What recognises keys, as the ingress role."""
    return Authenticator(ingress_database, clock)


@given(st.sampled_from(KeyMode), st.uuids(), st.binary(min_size=32, max_size=32))
def test_a_key_is_read_as_it_was_spelt(mode: KeyMode, key_id: uuid.UUID, random_bytes: bytes) -> None:
    secret = rules.spell_secret(random_bytes)

    parsed = rules.parse_api_key(rules.spell_api_key(mode, key_id, secret))

    assert parsed is not None
    assert (parsed.mode, parsed.id, parsed.secret) == (mode, key_id, secret)


@given(st.text())
def test_text_that_is_no_key_is_refused_without_an_error(text: str) -> None:
    assert rules.parse_api_key(text) is None


@pytest.mark.parametrize(
    "text",
    [
        rules.spell_api_key(KeyMode.LIVE, KEY_ID, SECRET) + "\n",
        rules.spell_api_key(KeyMode.LIVE, KEY_ID, SECRET) + "A",
        rules.spell_api_key(KeyMode.LIVE, KEY_ID, SECRET[:-1]),
        rules.spell_api_key(KeyMode.LIVE, KEY_ID, SECRET).replace("live", "prod"),
        rules.spell_api_key(KeyMode.LIVE, KEY_ID, SECRET).upper(),
    ],
)
def test_a_key_that_is_nearly_right_is_none(text: str) -> None:
    assert rules.parse_api_key(text) is None


def test_what_is_stored_is_not_the_secret(issue_key: IssueKey, founded: FoundedSpace, database: Database) -> None:
    issued = issue_key(founded.scope)

    with database.transaction(founded.scope) as session:
        row = session.execute("SELECT row_to_json(k)::text AS text, secret_sha256 FROM api_keys k").fetchone()

    assert row is not None
    assert issued.text[-43:] not in row["text"]
    assert bytes(row["secret_sha256"]) == rules.hash_secret(issued.text[-43:])


def test_every_key_has_a_secret_of_its_own(issue_key: IssueKey, founded: FoundedSpace) -> None:
    keys = {issue_key(founded.scope).text[-43:] for _ in range(5)}

    assert len(keys) == 5


def test_a_principal_is_what_its_key_says(issue_key: IssueKey, customer: Scope, authenticator: Authenticator) -> None:
    issued = issue_key(customer, permissions=[Permission.WORKFLOWS_READ], mode=KeyMode.TEST)

    principal = authenticator.authenticate(issued.text)

    assert principal.scope == customer
    assert principal.mode is KeyMode.TEST
    assert principal.permissions == {"workflows:read"}
    assert principal.actor == f"api_key:{issued.stored.id}"


def test_the_database_is_asked_once_a_minute_for_a_key(
    issue_key: IssueKey, founded: FoundedSpace, databases: Mapping[Role, str], clock: FrozenClock
) -> None:
    database = _CountingDatabase(databases[Role.INGRESS])
    authenticator = Authenticator(database, clock)
    text = issue_key(founded.scope).text
    asked: list[int] = []

    for seconds in (0, service.CREDENTIAL_CACHE_SECONDS - 1, 1):
        clock.advance(seconds)
        authenticator.authenticate(text)
        asked.append(database.transactions)
    database.close()

    assert asked == [1, 1, 2]


def test_an_unknown_key_is_never_remembered(databases: Mapping[Role, str], clock: FrozenClock) -> None:
    database = _CountingDatabase(databases[Role.INGRESS])
    authenticator = Authenticator(database, clock)

    for _ in range(2):
        with pytest.raises(Unauthorized):
            authenticator.authenticate(rules.spell_api_key(KeyMode.LIVE, KEY_ID, SECRET))
    database.close()

    assert database.transactions == 2


@pytest.mark.parametrize("text", [None, "", "x", rules.spell_api_key(KeyMode.LIVE, KEY_ID, SECRET)])
def test_nobody_is_recognised_by_anything_else(authenticator: Authenticator, text: str | None) -> None:
    with pytest.raises(Unauthorized):
        authenticator.authenticate(text)


def test_a_refusal_never_says_which_part_was_wrong(
    issue_key: IssueKey, founded: FoundedSpace, authenticator: Authenticator
) -> None:
    text = issue_key(founded.scope).text
    messages: set[str] = set()
    for wrong in (None, "x", text[:-43] + "A" * 43, rules.spell_api_key(KeyMode.LIVE, KEY_ID, SECRET)):
        with pytest.raises(Unauthorized) as refused:
            authenticator.authenticate(wrong)
        messages.add(refused.value.message)

    assert len(messages) == 1


def test_spaces_with_keys_are_listed_once_each(
    issue_key: IssueKey, founded: FoundedSpace, other_founded: FoundedSpace, ingress_database: Database
) -> None:
    for scope in (founded.scope, founded.scope, other_founded.scope):
        issue_key(scope)

    with ingress_database.transaction(None) as session:
        spaces = list_spaces_with_keys(session)

    expected = [(scope.organization_id, scope.space_id) for scope in (founded.scope, other_founded.scope)]
    assert spaces == sorted(expected)


class _CountingDatabase(Database):
    """Counts its transactions."""

    transactions = 0

    @contextmanager
    def transaction(self, scope: Scope | None) -> Generator[Session]:
        self.transactions += 1
        with super().transaction(scope) as session:
            yield session
