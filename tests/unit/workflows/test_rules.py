"""Flow names, tiers, retries and source hashes."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.access.models import KeyMode
from fastn.engine.languages import Language
from fastn.errors import Forbidden, ValidationFailed
from fastn.http.registry import API_PREFIX, load_registry
from fastn.workflows import rules
from fastn.workflows.models import RetryPolicy, Tier

ROOT = Path(__file__).parents[3]
STORED_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)  # the CHECK of workflows.slug


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("HubSpot: Discovery Deal → Gamma Deck", "hubspot-discovery-deal-gamma-deck"),
        ("sync_orders", "sync-orders"),
        ("Überweisung an Müller & Söhne", "uberweisung-an-muller-sohne"),
        ("Straße", "strasse"),
        ("  --Order   #42-- ", "order-42"),
        ("同期", ""),
        ("x" * 300, "x" * 100),
        ("a" * 99 + " b", "a" * 99),
    ],
)
def test_slug_is_made_of_the_letters_and_digits_of_the_name(name: str, slug: str) -> None:
    assert rules.slug_from_name(name) == slug


@given(st.text(max_size=300))
def test_slug_from_any_name_is_empty_or_storable_and_stays_itself(name: str) -> None:
    slug = rules.slug_from_name(name)

    assert slug == "" or (STORED_SLUG.fullmatch(slug) and len(slug) <= rules.MAX_SLUG_LENGTH)
    assert rules.slug_from_name(slug) == slug


def test_flow_name_takes_hyphens_and_underscores_alike() -> None:
    assert rules.normalize_flow_name("sync_new-orders") == "sync-new-orders"
    assert rules.normalize_flow_name("sync-new_orders") == "sync-new-orders"


@pytest.mark.parametrize(
    "name",
    ["", "Sync-Orders", "sync--orders", "sync__orders", "-a", "a_", "a b", "a/b", "é", "a\n", "x" * 101, "\u0661"],
)
def test_flow_name_that_no_slug_can_be_means_nothing(name: str) -> None:
    assert rules.normalize_flow_name(name) is None


@given(st.text(max_size=120))
def test_normalized_flow_name_is_storable(name: str) -> None:
    slug = rules.normalize_flow_name(name)

    assert slug is None or (STORED_SLUG.fullmatch(slug) and len(slug) <= rules.MAX_SLUG_LENGTH)


def test_given_slug_wins_over_the_name() -> None:
    assert rules.choose_slug("from_shop", "Sync orders") == "from-shop"
    assert rules.choose_slug(None, "Sync orders") == "sync-orders"


@pytest.mark.parametrize("given_slug", ["Sync", "a--b", "", "naïve"])
def test_given_slug_that_is_none_is_refused(given_slug: str) -> None:
    with pytest.raises(ValidationFailed, match=r"^slug: use lower-case"):
        rules.choose_slug(given_slug, "Sync orders")


def test_name_without_a_letter_asks_for_a_slug() -> None:
    with pytest.raises(ValidationFailed, match="give one"):
        rules.choose_slug(None, "同期")


@pytest.mark.parametrize(
    ("given_slug", "name"),
    [("tenants", "x"), ("agent_builder", "x"), (None, "API access"), ("0192f0c1-2b3c-7d4e-8f50-112233445566", "x")],
)
def test_reserved_slug_is_refused_however_it_is_spelt(given_slug: str | None, name: str) -> None:
    with pytest.raises(ValidationFailed, match="reserved"):
        rules.choose_slug(given_slug, name)


def test_first_segment_of_every_route_is_reserved() -> None:
    paths = [declaration.path for _, declaration in load_registry(ROOT).endpoints()]
    firsts = {path.removeprefix(API_PREFIX).split("/")[0] for path in paths if path.startswith(API_PREFIX)}

    literal = {first for first in firsts if not first.startswith("{")}

    assert "tenants" in literal
    assert literal <= rules.ROUTE_SEGMENTS, f"add {literal - rules.ROUTE_SEGMENTS} to ROUTE_SEGMENTS in rules.py"


def test_reserved_slugs_are_spelt_as_slugs() -> None:
    assert all(rules.normalize_flow_name(slug) == slug for slug in rules.RESERVED_SLUGS)


@pytest.mark.parametrize(
    ("tier", "least", "most", "default"),
    [(Tier.INSTANT, 1, 120, 60), (Tier.STANDARD, 5, 900, 900), (Tier.LONG, 30, 21_600, 21_600)],
)
def test_time_out_lies_in_its_tiers_range(tier: Tier, least: int, most: int, default: int) -> None:
    assert rules.choose_timeout_seconds(tier, None) == default
    assert rules.choose_timeout_seconds(tier, least) == least
    assert rules.choose_timeout_seconds(tier, most) == most


@pytest.mark.parametrize(
    ("tier", "seconds"),
    [(Tier.INSTANT, 0), (Tier.INSTANT, 121), (Tier.STANDARD, 4), (Tier.STANDARD, 901), (Tier.LONG, 29)],
)
def test_time_out_outside_its_tiers_range_is_refused(tier: Tier, seconds: int) -> None:
    with pytest.raises(ValidationFailed, match="timeoutSeconds"):
        rules.choose_timeout_seconds(tier, seconds)


def test_every_tier_has_a_time_out() -> None:
    assert set(rules.TIMEOUTS) == set(Tier)


def test_source_hash_tells_languages_apart() -> None:
    source = "export default async (ctx) => f<a>(b);"

    assert rules.hash_source(source, Language.JAVASCRIPT) != rules.hash_source(source, Language.TYPESCRIPT)
    assert len(rules.hash_source(source, Language.JAVASCRIPT)) == 32


@pytest.mark.parametrize("name", ["draft", "DRAFT"])
def test_nothing_is_deployed_to_the_draft_environment(name: str) -> None:
    with pytest.raises(ValidationFailed, match=r"^environment: DRAFT"):
        rules.check_deployable(name, KeyMode.LIVE)


def test_test_key_cannot_deploy_to_production() -> None:
    rules.check_deployable("production", KeyMode.LIVE)
    rules.check_deployable("staging", KeyMode.TEST)

    with pytest.raises(Forbidden):
        rules.check_deployable("production", KeyMode.TEST)


def test_default_retry_policy_waits_5_then_10_seconds_and_gives_up_after_3_attempts() -> None:
    policy = RetryPolicy()

    assert [rules.retry_delay_ms(policy, failed) for failed in (1, 2, 3)] == [5_000, 10_000, None]


def test_retry_delay_grows_up_to_the_maximum() -> None:
    policy = RetryPolicy(max_attempts=7)

    delays = [rules.retry_delay_ms(policy, failed) for failed in range(1, 7)]

    assert delays == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]
