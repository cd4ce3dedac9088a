"""The address and the network interface by which this host reaches another."""

import ipaddress
import os
import socket

import psutil

LOOPBACK = "127.0.0.1"
GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"


def is_loopback(address: str) -> bool:
    """Whether only this host reaches the address."""
    return ipaddress.ip_address(address).is_loopback


def local_address(host: str) -> str:
    """The address of this host from which packets to `host` leave.

    The port of discard is named; nothing is sent.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return probe.getsockname()[0]


def use_interface(address: str) -> None:
    """Have gloo talk over the network interface with this address.

    An interface that the environment names is kept. By default gloo takes the address of the host's own name, which
    Debian's installer sets to 127.0.1.1.
    """
    found = (
        name for name, addresses in psutil.net_if_addrs().items() if any(each.address == address for each in addresses)
    )
    name = next(found, None)
    if name is not None:
        os.environ.setdefault(GLOO_INTERFACE, name)
