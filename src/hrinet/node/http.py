"""Metrics and health over HTTP, on the loopback interface only."""

from __future__ import annotations

import http.server
import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hrinet.errors import RequestError

_TIMEOUT_S = 10.0


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class StatusServer:
    """Answers ``GET /metrics`` and ``GET /health``, and nothing else.

    The address is taken at once; requests wait for their answer until :meth:`start`.

    A request whose Host header is not ours is refused, so that no web page can read the answers
    through a name that it lets point here.

    Args:
        host: a loopback address.
        port: TCP; 0 takes a free one.
        metrics: makes the text of ``/metrics``.
        health: makes (whether well, details) of ``/health``.

    Raises:
        RequestError: if the address cannot be bound.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        metrics: Callable[[], str],
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
    ) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = _TIMEOUT_S
            server_version = "hrinet"
            sys_version = ""

            def do_GET(self) -> None:
                own_port = self.connection.getsockname()[1]
                allowed = {f"{name}:{own_port}" for name in (host, f"[{host}]", "localhost")}
                if self.headers.get("Host", "") not in allowed:
                    self._answer(403, "text/plain", "wrong host\n")
                elif self.path == "/metrics":
                    self._answer(200, "text/plain; version=0.0.4", metrics())
                elif self.path == "/health":
                    is_well, details = health()
                    body = json.dumps({"status": "ok" if is_well else "failing", **details})
                    self._answer(200 if is_well else 503, "application/json", body + "\n")
                else:
                    self._answer(404, "text/plain", "try /metrics or /health\n")

            def _answer(self, code: int, kind: str, text: str) -> None:
                body = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: requests are frequent and of no interest."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: clients come and go."""

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise RequestError(
                f"cannot listen on {host}:{port}: {error.strerror or error}"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="status", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and give the address back."""
        if self._thread.ident is not None:  # One that never began would be waited for in vain.
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
