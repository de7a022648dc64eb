"""Which internet addresses an outbound call may reach.

An allow-list by subtraction from the IANA special-purpose registries (RFC 6890 and its updates), written
out because `ipaddress.is_global` alone is wrong here: it calls 64:ff9b::10.0.0.1 (NAT64) and some 6to4
addresses global, and it changes with the Python version.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_FORBIDDEN_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, unspecified
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; AWS also numbers managed services from it
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's platform endpoint, though the address is public
        "169.254.0.0/16",  # link-local: instance metadata, Lambda's own endpoints
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_UNICAST_IPV6 = IPv6Network("2000::/3")
_FORBIDDEN_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments; Teredo (2001::/32) and ORCHID lie inside
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise, and deprecated (RFC 7526)
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
# RFC 6052: what DNS64 answers in a network that has only IPv6. The local-use prefix 64:ff9b:1::/48
# (RFC 8215) names whatever its operator likes, so it stays outside the global range and is refused.
_NAT64 = IPv6Network("64:ff9b::/96")
# ISATAP (RFC 5214): the interface identifier carries an IPv4 address under any prefix.
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)


def is_reachable_address(text: str) -> bool:
    """Whether an outbound call may be sent to this address, written in canonical form.

    IPv4 inside IPv6 is decoded and judged as IPv4 where it is routed as such (mapped, NAT64), and refused
    in its tunnelling forms. False for anything that is no address, a zone id included.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_reachable_ipv4(address)
    if address.scope_id is not None:
        return False
    if address in _IPV4_MAPPED or address in _NAT64:
        return _is_reachable_ipv4(IPv4Address(int(address) & 0xFFFFFFFF))
    return _is_reachable_ipv6(address)


def _is_reachable_ipv4(address: IPv4Address) -> bool:
    return not any(address in network for network in _FORBIDDEN_IPV4)


def _is_reachable_ipv6(address: IPv6Address) -> bool:
    if address not in _GLOBAL_UNICAST_IPV6 or any(address in network for network in _FORBIDDEN_IPV6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP_MARKS
