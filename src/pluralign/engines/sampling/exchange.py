"""One request and its answer over HTTP, within a time that nothing a server does can stretch."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, final

from .retry import Failure

if TYPE_CHECKING:
    import ssl

    import httpx

_ALIVE_WITHIN = 10.0


@final
class Exchange:
    """A connection to a server, used by one thread at a time and kept open between requests.

    httpx bounds the wait for each piece of an answer; a server may drip pieces, or lines of a
    header, for ever. Here the connection is cut at the end of the time, whatever it is at.

    Args:
        base_url: what paths are appended to.
        timeout: seconds for one request from start to last byte.

    Raises:
        ImportError: if httpx is not installed.
    """

    def __init__(self, base_url: str, timeout: float) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ImportError(
                "ServerSampler needs httpx: pip install 'pluralign[steer]'"
            ) from error
        self._timeout = timeout
        self._client = httpx.Client(
            base_url=base_url,
            timeout=timeout,
            limits=httpx.Limits(max_connections=1),
            verify=_encryption(),
        )
        self._socket: socket.socket | None = None

    def post(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> tuple[int, httpx.Headers, str] | Failure:
        """Status, headers and text; a failure if they do not come whole and in time."""
        import httpx

        request = self._client.build_request("POST", path, json=body, headers=headers)
        try:
            answer = self._within(self._timeout, request)
        except (TimeoutError, httpx.TimeoutException):
            return Failure(f"no whole answer within {self._timeout:g} s")
        except httpx.RequestError as error:
            return Failure(f"{type(error).__name__}: {error}"[:200])
        return answer.status_code, answer.headers, answer.content.decode(errors="replace")

    def alive(self) -> bool:
        """Whether the server answers a question that costs nothing, with whatever it says."""
        import httpx

        patience = min(_ALIVE_WITHIN, self._timeout)
        request = self._client.build_request("GET", "/models", timeout=patience)
        for _ in range(2):  # the first may meet a connection that the server has just closed
            try:
                return self._within(patience, request).status_code < 500
            except (httpx.RequestError, TimeoutError):
                continue
        return False

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _within(self, seconds: float, request: httpx.Request) -> httpx.Response:
        """The whole answer.

        Raises:
            TimeoutError: if the time ended while the answer came.
            httpx.RequestError: for what else went wrong.
        """
        import httpx

        ended = threading.Event()
        watch = threading.Timer(seconds, self._cut, (ended,))
        watch.daemon = True
        request.extensions["trace"] = self._traced
        watch.start()
        try:
            answer = self._client.send(request)
        except httpx.RequestError:
            if ended.is_set():
                raise TimeoutError from None
            raise
        finally:
            watch.cancel()
        if ended.is_set():  # a body without a length ends where the connection does
            raise TimeoutError
        return answer

    def _traced(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")

    def _cut(self, ended: threading.Event) -> None:
        ended.set()
        open_socket = self._socket
        if open_socket is not None:
            with suppress(OSError):
                # Not the method of an encrypted socket, which belongs to the thread that reads.
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)


@cache
def _encryption() -> ssl.SSLContext:
    # Reading the system's certificates takes longer than many a request.
    import httpx

    return httpx.create_ssl_context()
