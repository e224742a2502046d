"""Which sockets the processes of a run listen on, seen from outside while it is at work."""

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from socket import SOCK_DGRAM

import psutil


@dataclass(frozen=True)
class Listening:
    """A socket that others can reach.

    Attributes:
        process: the name of whose it is.
        kind: TCP or UDP.
        host: the address that it is bound to.
        port: its port.
    """

    process: str
    kind: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        address = ip_address(self.host)
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1 is 127.0.0.1
        return (mapped or address).is_loopback


def listening_sockets(root: psutil.Process) -> set[Listening]:
    """Return the sockets of a process and all its descendants that wait for others."""
    found: set[Listening] = set()
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            name = process.name()
            for own in process.net_connections(kind="inet"):
                is_udp = own.type == SOCK_DGRAM
                # A UDP socket that is connected takes nothing from others.
                if own.laddr and (own.status == psutil.CONN_LISTEN or (is_udp and not own.raddr)):
                    found.add(Listening(name, "UDP" if is_udp else "TCP", own.laddr.ip, own.laddr.port))
    return found
