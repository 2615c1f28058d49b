"""A picture fetched over HTTP: from a host that was named, at an address that was looked at, and nowhere else."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any, NoReturn

from hone.server.refusal import RefusedError

MOST_BYTES = 20 * 2**20
"""Of one picture."""
PIECE = 1 << 16
PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Addresses of IPv4 written as such of IPv6."""


@dataclass(frozen=True)
class Hosts:
    """Names, and names with a port, that may be asked; `*` is any whose addresses are all public. An address that is
    not public must be named itself, beside the name that leads to it."""

    named: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> Hosts:
        """From a list with commas."""
        return cls(frozenset(word.strip().lower() for word in text.split(",") if word.strip()))

    def take(self, scheme: str, host: str, port: int) -> bool:
        """Whether this host may be asked: a name without a port means the usual one."""
        usual = port == PORTS[scheme]
        return f"{host}:{port}" in self.named or (usual and (host in self.named or "*" in self.named))

    def safe(self, address: str) -> bool:
        """Whether a connection may go to this address."""
        found = ipaddress.ip_address(address.partition("%")[0])
        inner = getattr(found, "ipv4_mapped", None) or found
        if str(inner) in self.named or str(found) in self.named:
            return True
        hidden = getattr(inner, "sixtofour", None) or getattr(inner, "teredo", None)
        through = inner.version == 6 and inner in NAT64
        return inner.is_global and not inner.is_multicast and not hidden and not through


def fetched(url: str, hosts: Hosts, where: str, *, until: float, most: int) -> bytes:
    """The body at an address, `most` bytes at most, by the time `until` of the monotonic clock; no redirects.

    Raises RefusedError: 403 where it is not allowed, 400 where it cannot be had.
    """
    scheme, host, port, target = _parts(url, where)
    if not hosts.take(scheme, host, port):
        _not_allowed(where)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedError("the picture cannot be fetched: its host is not found", where) from None
    if not found or not all(hosts.safe(str(one[4][0])) for one in found):
        _not_allowed(where)
    try:
        return _asked(scheme, host, port, target, found[0], until, most)
    except _NoPictureError as reason:
        raise RefusedError(f"the picture cannot be fetched: {reason}", where) from None
    except (OSError, http.client.HTTPException, ValueError):
        late = "it takes too long" if time.monotonic() >= until else "its host does not answer as it should"
        raise RefusedError(f"the picture cannot be fetched: {late}", where) from None


class _NoPictureError(Exception):
    """Why what came is not taken."""


def _parts(url: str, where: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and target; what others may read otherwise than we do is not taken."""
    try:
        if not url.isascii() or not url.isprintable() or any(letter in url for letter in " \\"):
            raise ValueError
        parts = urllib.parse.urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or PORTS[parts.scheme]
        if not host or "@" in parts.netloc:
            raise ValueError
    except ValueError:
        raise RefusedError("the address of the picture is not written as it should be", where) from None
    return parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _asked(scheme: str, host: str, port: int, target: str, place: Any, until: float, most: int) -> bytes:
    """The answer of this very address, whatever the name leads to by now."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    lines = [socket.socket(place[0], socket.SOCK_STREAM)]
    end = threading.Timer(left, _shut, [lines])  # whatever is slow: the greeting, the head, or each letter of the body
    end.daemon = True
    end.start()
    try:
        lines[0].settimeout(left)
        lines[0].connect(place[4])
        if scheme == "https":
            trust = ssl.create_default_context()
            lines.append(trust.wrap_socket(lines[0], server_hostname=host, do_handshake_on_connect=False))
            lines[1].do_handshake()  # type: ignore[attr-defined]
        connection = http.client.HTTPConnection(host, port)
        connection.sock = lines[-1]
        connection.request("GET", target, headers={"Accept": "image/*", "Connection": "close"})
        found = _body(connection.getresponse(), most)
        if time.monotonic() >= until:  # what was cut off by then looks like its end
            raise TimeoutError
        return found
    finally:
        end.cancel()
        for line in lines:
            line.close()


def _body(answer: http.client.HTTPResponse, most: int) -> bytes:
    if answer.status != 200:
        raise _NoPictureError(f"its host answers {answer.status}")
    kind = answer.getheader("Content-Type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") or answer.getheader("Content-Encoding", "identity").lower() != "identity":
        raise _NoPictureError("what is there is no picture")
    read = bytearray()
    while part := answer.read1(PIECE):
        read += part
        if len(read) > most:
            raise _NoPictureError("it is too large")
    if answer.length:
        raise _NoPictureError("it ends before its end")
    return bytes(read)


def _shut(lines: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        lines[-1].shutdown(socket.SHUT_RDWR)


def _not_allowed(where: str) -> NoReturn:
    what = "pictures from this address are not allowed here"
    raise RefusedError(what, where, status=403, code="media_not_allowed")
