"""Strict reading of URLs and host patterns."""

import pytest

from fastn.platform.egress_errors import EgressRefused
from fastn.platform.egress_targets import Target, parse_host_pattern, parse_target, redirect_target

TRAPS = (
    *("http://example.com/", "file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "//example.com/"),
    *("example.com", "", "https://", "https:///path", "https://user@example.com/", "https://u:p@example.com/"),
    *("https://example.com@evil.com/", "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://0x7f000001/"),
    *("https://2130706433/", "https://127.1/", "https://127.0.0.1.0x1/", "https://1.2.3.256/", "https://1.2.3.04/"),
    *("https://[::1%25eth0]/", "https://[v1.foo]/", "https://[::1/", "https://exa mple.com/", "https://a\tb.com/"),
    *("https://a\n.com/", "https://a.com\\@b.com/", "https://a..com/", "https://a.com../", "https://.com/"),
    *("https://-a.com/", "https://a.com:99999/", "https://a.com:x/", "https://a.com:-1/", "https://%31.com/"),
    *("https://a\x00.com/", " https://a.com/", "https://" + "a" * 64 + ".com/", "https://a.com/" + "x" * 20_000),
    *("https://①②⑦.0.0.0x1/", "https://\u202eexample.com/", "javascript:alert(1)", "data:text/plain,x"),
)


@pytest.mark.parametrize("url", TRAPS)
def test_ambiguous_urls_are_refused(url: str) -> None:
    with pytest.raises(EgressRefused):
        parse_target(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "path_and_query"),
    [
        ("https://Example.COM", "example.com", 443, "/"),
        ("https://example.com./a?b=c#d", "example.com", 443, "/a?b=c"),
        ("https://example.com:8443/x", "example.com", 8443, "/x"),
        ("https://bücher.example/ü?q=ä", "xn--bcher-kva.example", 443, "/%C3%BC?q=%C3%A4"),
        ("https://example.com/a%2Fb", "example.com", 443, "/a%2Fb"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "/"),
        ("https://\uff11\uff12\uff17.0.0.1/", "127.0.0.1", 443, "/"),
        ("https://[2606:4700:0::1111]/", "2606:4700::1111", 443, "/"),
    ],
)
def test_urls_are_normalized(url: str, host: str, port: int, path_and_query: str) -> None:
    target = parse_target(url)

    assert (target.host, target.port, target.path_and_query) == (host, port, path_and_query)


def test_http_is_for_plain_hosts_only() -> None:
    assert parse_target("http://fake.example/", plain_hosts={"fake.example"}).port == 80


def test_an_ipv6_host_is_bracketed_in_its_header() -> None:
    assert parse_target("https://[2606:4700::1]:8443/").host_header == "[2606:4700::1]:8443"


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        ("slack.com", "https://slack.com/", True),
        ("slack.com", "https://evil-slack.com/", False),
        ("slack.com", "https://slack.com.evil.com/", False),
        ("slack.com", "https://api.slack.com/", False),
        ("slack.com", "https://slack.com:8443/", False),
        ("erp.example:8443", "https://erp.example:8443/", True),
        ("erp.example:8443", "https://erp.example/", False),
        ("*.myshopify.com", "https://shop.myshopify.com/", True),
        ("*.myshopify.com", "https://a.b.myshopify.com/", True),
        ("*.myshopify.com", "https://myshopify.com/", False),
        ("*.myshopify.com", "https://xmyshopify.com/", False),
        ("10.0.0.1", "https://10.0.0.11/", False),
    ],
)
def test_a_host_pattern_matches_whole_labels_and_the_port(pattern: str, url: str, expected: bool) -> None:
    assert parse_host_pattern(pattern).matches(parse_target(url)) is expected


@pytest.mark.parametrize("pattern", ["", "*", "*.com", "a.*.com", "https://a.com", "a.com/", "a.com:0", "a@b.com"])
def test_patterns_that_are_too_wide_or_no_host_are_refused(pattern: str) -> None:
    with pytest.raises(EgressRefused):
        parse_host_pattern(pattern)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b", "https://example.com/b"),
        ("b?x=1", "https://example.com/a/b?x=1"),
        ("//other.com/c", "https://other.com/c"),
        ("https://other.com/", "https://other.com/"),
    ],
)
def test_a_location_is_relative_to_its_source(location: str, url: str) -> None:
    assert redirect_target(_example(), location).url == url


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://example.com/", "https://[", "https://u@b.com/"])
def test_a_location_is_read_as_strictly_as_a_url(location: str) -> None:
    with pytest.raises(EgressRefused):
        redirect_target(_example(), location)


def _example() -> Target:
    return parse_target("https://example.com/a/")
