"""Images by URL, bounded in time, size, redirects and connections, and from public addresses only unless asked otherwise."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urljoin, urlsplit

from pairloom import __version__
from pairloom.batch import Row
from pairloom.choices import Fetch
from pairloom.errors import Reject
from pairloom.readers.ahead import in_order
from pairloom.readers.cells import MAX_IMAGE_BYTES, check_size
from pairloom.readers.model import printable, shown

PER_HOST = 4
SECONDS, TRIES, REDIRECTS = 20.0, 3, 5
_PAUSE = 0.5
_CHUNK = 1 << 16
_AGENT = f"pairloom/{__version__}"
_OPT_OUTS = {"noai", "noimageai"}


class _Again(Exception):
    """Something that may go away by itself, and what it means if it doesn't."""

    def __init__(self, reject: Reject) -> None:
        self.reject = reject
        super().__init__(str(reject))


def fetched(rows: Iterable[Row], fetch: Fetch) -> Iterator[Row]:
    """The same rows in the same order, with the images that their `url` names; what can't be had is rejected."""
    hosts: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(PER_HOST))
    return in_order(rows, lambda row: _filled(row, fetch == "any", hosts))


def _filled(row: Row, private: bool, hosts: dict[str, threading.Semaphore]) -> Row:
    if not row.url or row.reject is not None:
        return row
    try:
        with hosts[urlsplit(row.url).netloc]:
            return replace(row, image=fetch_image(row.url, private))
    except Reject as reject:
        return replace(row, reject=reject.bare())
    except ValueError as fault:
        return replace(row, reject=Reject("bad_url", shown(str(fault))))


def fetch_image(url: str, private: bool = False) -> bytes:
    """What a URL gives, in at most `SECONDS` seconds a try.

    Raises:
        Reject: bad_url, private_address, unreachable, timeout, http_status, too_many_redirects, opted_out, too_many_bytes.
    """
    for left in range(TRIES - 1, -1, -1):
        try:
            return _follow(url, time.monotonic() + SECONDS, private)
        except _Again as again:
            if not left:
                raise again.reject from None
            time.sleep(_PAUSE * 2 ** (TRIES - 1 - left))
    raise AssertionError


def _follow(url: str, deadline: float, private: bool) -> bytes:
    for _ in range(REDIRECTS + 1):
        connection = None
        try:
            connection = _connect(url, deadline, private)
            parts = urlsplit(url)
            target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="/%?=&:;,+@!$'()*~#[]")
            connection.request(
                "GET", target, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity", "Accept": "image/*,*/*"}
            )
            found = _answer(connection.getresponse(), connection, deadline)
        except TimeoutError:
            raise _Again(Reject("timeout", f"no answer within {SECONDS:g} s")) from None
        except (OSError, HTTPException) as fault:
            raise _Again(Reject("unreachable", shown(f"{type(fault).__name__}: {fault}"))) from None
        finally:
            if connection:
                connection.close()
        if isinstance(found, bytes):
            return found
        url = urljoin(url, found)
    raise Reject("too_many_redirects", f"more than {REDIRECTS}")


def _connect(url: str, deadline: float, private: bool) -> HTTPConnection:
    """A connection to an address that was looked at: asked again, a name server could name another one."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise Reject("bad_url", "neither http nor https, without a host, or with a password")
    secure = parts.scheme == "https"
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or (443 if secure else 80), type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as fault:
        raise _Again(Reject("unreachable", printable(f"no address of {parts.hostname}: {fault}"))) from None
    addresses = [(str(each[4][0]), int(each[4][1])) for each in found]
    if not private and not all(ipaddress.ip_address(host.partition("%")[0]).is_global for host, _ in addresses):
        raise Reject("private_address", f"{printable(parts.hostname)} is in a private network; --fetch any allows that")
    kind = HTTPSConnection if secure else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_left(deadline))
    connection._create_connection = lambda *_: _dial(addresses, deadline)  # type: ignore[attr-defined]
    return connection


def _dial(addresses: list[tuple[str, int]], deadline: float) -> socket.socket:
    """The first address that answers."""
    for address in addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection(address, _left(deadline) / 2)
    return socket.create_connection(addresses[-1], _left(deadline))


def _answer(response: HTTPResponse, connection: HTTPConnection, deadline: float) -> bytes | str:
    """The body, or where it moved to."""
    if response.status in (301, 302, 303, 307, 308) and response.getheader("Location"):
        return response.getheader("Location") or ""
    if response.status == 429 or response.status >= 500:
        raise _Again(Reject("http_status", f"{response.status}"))
    if response.status != 200:
        raise Reject("http_status", f"{response.status}")
    said = ",".join(response.headers.get_all("X-Robots-Tag") or ())
    if _OPT_OUTS & {word.rpartition(":")[2].strip().lower() for word in said.split(",")}:
        raise Reject("opted_out", printable(f"X-Robots-Tag: {said}"))
    check_size(response.length or 0, MAX_IMAGE_BYTES)
    data = bytearray()
    while True:
        if connection.sock:  # a server that sends a byte now and then must not hold us for ever
            connection.sock.settimeout(_left(deadline))
        _left(deadline)
        chunk = response.read1(_CHUNK)
        if not chunk:
            break
        data += chunk
        check_size(len(data), MAX_IMAGE_BYTES)
    if response.length:
        raise _Again(Reject("unreachable", f"the answer was cut off, {response.length} bytes are missing"))
    return bytes(data)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
