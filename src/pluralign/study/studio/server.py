"""Serve the page to this machine alone, until it is told to stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ...errors import ParameterError
from .page import build, gradio, head
from .records import read_records

HOST = "127.0.0.1"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""What a browser may load for the page: nothing from elsewhere, whatever Gradio asks for."""


def serve(
    run_dir: str | Path,
    *,
    port: int | None = None,
    browse: bool = False,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the studio of a run on 127.0.0.1 and return when interrupted or terminated.

    Use it through ``pluralign studio``. It binds to the loopback address only, sends nothing
    anywhere, and writes nothing into the run. Whoever has an account on this machine can open
    the page; do not use it for texts that they must not see.

    Args:
        run_dir: directory of a run; see :func:`read_records`.
        port: of the page; the first free one from 7860 on if not given.
        browse: open the page in the browser.
        ready: called with the address once the page can be opened.

    Raises:
        ParameterError: if the run holds nothing to show, or the port is taken.
        DataError: naming the record that cannot be read.
        ImportError: if Gradio is not installed, naming the extra.
    """
    records = read_records(run_dir)
    # Gradio reads these when it is imported and when it is launched.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    page = build(records)
    ended = threading.Event()
    with _Signals(ended):
        try:
            _, address, _ = page.launch(**_settings(port, browse))
        except OSError as error:
            raise ParameterError(
                f"the page cannot be served on port {port or 'any from 7860 on'} of {HOST} "
                f"({error}); name another by --port."
            ) from error
        try:
            if ready is not None:
                ready(address)
            ended.wait()
        finally:
            page.close(verbose=False)


def _settings(port: int | None, browse: bool) -> dict[str, Any]:
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    gr = gradio()
    own = [
        # Another site must not read the page through a name that it points to this machine.
        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
        Middleware(_Policy),
    ]
    return {
        "server_name": HOST,
        "server_port": port,
        "inbrowser": browse,
        "prevent_thread_lock": True,
        "quiet": True,
        "share": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "footer_links": [],
        "head": head(),
        "theme": gr.themes.Base(
            font=["ui-sans-serif", "system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        "app_kwargs": {"middleware": own},
    }


class _Policy:
    """Adds the policy to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = (b"content-security-policy", POLICY.encode())
                message = {**message, "headers": [*message["headers"], added]}
            await send(message)

        await self.app(scope, receive, with_policy)


class _Signals:
    """Set an event on an interrupt or a termination; before and after, as it was."""

    def __init__(self, ended: threading.Event) -> None:
        self.ended = ended
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for kind in (signal.SIGINT, signal.SIGTERM):
                self.before[kind] = signal.signal(kind, self._end)

    def __exit__(self, *_: object) -> None:
        for kind, handler in self.before.items():
            signal.signal(kind, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ended.set()
