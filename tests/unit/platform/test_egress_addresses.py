"""Which addresses outbound calls may reach."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.platform.egress_addresses import is_reachable_address

REFUSED = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.9.9.9"),
    *("168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1"),
    *("192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.7"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:8.8.8.8"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::808:808", "64:ff9b:1::a00:1"),
    *("2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1%1", "fec0::1", "ff02::1"),
    *("2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:8.8.8.8", "3fff::1", "5f00::1", "100::1"),
    *("", "localhost", "0177.0.0.1", "0x7f000001", "2130706433", "127.1"),
)
REACHABLE = (
    *("8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "223.255.255.1"),
    *("2606:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"),
)


@pytest.mark.parametrize("address", REFUSED)
def test_special_addresses_are_not_reachable(address: str) -> None:
    assert not is_reachable_address(address)


@pytest.mark.parametrize("address", REACHABLE)
def test_public_addresses_are_reachable(address: str) -> None:
    assert is_reachable_address(address)


@given(st.ip_addresses(v=4))
def test_an_embedded_ipv4_address_is_never_judged_milder_than_itself(address: ipaddress.IPv4Address) -> None:
    packed = int(address)
    disguises = [
        ipaddress.IPv6Address((0xFFFF << 32) | packed),
        ipaddress.IPv6Address((0x64FF9B << 96) | packed),
        ipaddress.IPv6Address((0x2002 << 112) | (packed << 80)),
        ipaddress.IPv6Address(packed),
    ]

    allowed = is_reachable_address(str(address))

    assert allowed or not any(is_reachable_address(str(disguise)) for disguise in disguises)


@given(st.ip_addresses())
def test_whatever_the_standard_library_calls_private_is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast

    assert not (special and is_reachable_address(str(address)))
