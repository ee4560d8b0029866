"""Opens an address for reading: https and file, nothing else; every failure in one sentence.

Plain http is taken from this machine alone, where nobody is in between.
"""

from __future__ import annotations

import http.client
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol, final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from typing_extensions import override

from hil.errors import RequestError

__all__ = ["Source", "check_url", "opened_url"]


class Source(Protocol):
    """Bytes that come as they come."""

    def read1(self, size: int, /) -> bytes:
        """Return what has come, at most `size` bytes; nothing at the end."""
        ...


@contextmanager
def opened_url(url: str, *, timeout_s: float) -> Iterator[Source]:
    """Open an address; what goes wrong while its bytes are read is told as well.

    Args:
        url: https://..., file:///..., or http://... of this machine.
        timeout_s: Longest wait for the next bytes, s.

    Raises:
        RequestError: Another kind of address, also after a redirection; no answer, no such file,
            the connection lost.
    """
    check_url(url)
    request = Request(url, headers={"User-Agent": "aimc-hil", "Accept-Encoding": "identity"})
    try:
        with _opener(url).open(request, timeout=timeout_s) as source:
            yield source
    except HTTPError as error:
        error.close()
        raise RequestError(
            f"{url} answers {error.code} {error.reason}; check the address, or give another "
            "source with --url",
            url=url,
        ) from error
    except TimeoutError as error:
        raise RequestError(
            f"{url} did not answer within {timeout_s:g} s; try again later, or give another "
            "source with --url",
            url=url,
        ) from error
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            reason = f"no answer within {timeout_s:g} s"
        else:
            reason = str(error.reason)
        raise RequestError(
            f"{url} cannot be reached ({reason}); check the address and the network", url=url
        ) from error
    except (http.client.HTTPException, OSError) as error:
        words = str(error) or type(error).__name__
        raise RequestError(f"{url} broke off ({words}); try again", url=url) from error


def check_url(url: str) -> None:
    """Refuse an address that is neither https nor file nor on this machine.

    Raises:
        RequestError: It is not.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise RequestError(f"address {url!r} is not one ({error})", url=url) from error
    if parts.scheme == "file" and host in {"", "localhost"} and parts.path.startswith("/"):
        return
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and _is_this_machine(host):
        return
    raise RequestError(
        f"address {url!r} is not fetched from; give https://HOST/PATH or file:///PATH", url=url
    )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _opener(url: str) -> OpenerDirector:
    if _is_this_machine(urlsplit(url).hostname or ""):
        return build_opener(_CheckedRedirects, ProxyHandler({}))
    return build_opener(_CheckedRedirects)


@final
class _CheckedRedirects(HTTPRedirectHandler):
    """Follows a server only to where one could have asked to go (urllib itself: to no file)."""

    @override
    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """Check the new address before it is asked."""
        try:
            check_url(newurl)
        except RequestError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)
