"""The listening socket: a thread for every association, as many as are allowed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

from hrinet.errors import RequestError
from hrinet.node.association import Association, Terms
from hrinet.node.intake import Intake
from hrinet.node.logs import LOG, kind_of
from hrinet.node.metrics import Metrics

_BACKLOG = 64
_OVERFLOW = 8
"""Connections beyond the limit that are answered with a rejection; more are closed."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: address to bind.
        port: to listen on; 0 takes a free one.

    Raises:
        RequestError: if the address cannot be bound.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except UnicodeError as error:  # No name that could be looked up.
        raise RequestError(f"cannot listen on {host!r}: is no address") from error
    except OSError as error:
        raise RequestError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


class Receiver:
    """Accepts associations until it is stopped.

    Args:
        listener: see :func:`listen`; the receiver closes it.
        terms: what associations are offered.
        intake: where objects go.
        metrics: counted in.
        max_associations: at the same time.
        tls: wraps connections, or None.
    """

    def __init__(
        self,
        *,
        listener: socket.socket,
        terms: Terms,
        intake: Intake,
        metrics: Metrics,
        max_associations: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._terms = terms
        self._intake = intake
        self._metrics = metrics
        self._max = max_associations
        self._tls = tls
        self._lock = threading.Lock()
        self._open: dict[Association, socket.socket] = {}
        self._connections = 0
        self._stopping = threading.Event()
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, name="receiver", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listener.getsockname()[1])

    @property
    def is_alive(self) -> bool:
        """Whether it accepts associations."""
        return self._thread.is_alive()

    @property
    def open_count(self) -> int:
        """Associations that are open."""
        return len(self._open)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self, *, grace_s: float) -> None:
        """Accept no more, and let objects that are on their way come in.

        Args:
            grace_s: how long to wait for them.
        """
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._thread.ident is not None:
            self._thread.join()
        end = time.monotonic() + grace_s
        while True:
            with self._lock:
                left = dict(self._open)
            for association, connection in left.items():
                association.stop()
                if not association.is_receiving or time.monotonic() > end:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)
            if not left or time.monotonic() > end + 1.0:
                return
            time.sleep(0.02)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = self._listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                time.sleep(0.1)  # Out of file handles: they come back.
                continue
            with self._lock:
                # Those that are still shaking hands for TLS count as well.
                is_overrun = self._connections >= self._max + _OVERFLOW
                self._connections += not is_overrun
            if is_overrun:
                connection.close()
                self._metrics.add("associations_total", outcome="dropped: busy")
                continue
            thread = threading.Thread(
                target=self._serve, args=(connection, str(address[0])), daemon=True
            )
            thread.start()

    def _serve(self, connection: socket.socket, address: str) -> None:
        outcome = "failed"
        association: Association | None = None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection.settimeout(self._terms.acse_timeout_s)
                connection = self._tls.wrap_socket(connection, server_side=True)
            association = Association(
                connection,
                terms=self._terms,
                intake=self._intake,
                metrics=self._metrics,
                is_busy=lambda: self.open_count > self._max or self._intake.is_full,
            )
            with self._lock:
                self._open[association] = connection
            outcome = association.serve()
        except ssl.SSLError:
            outcome = "rejected: TLS"
            LOG.warning("no TLS connection with %s", address)
        except OSError:
            outcome = "cut off"
        except Exception as error:
            # A defect here must not end the node; nothing was acknowledged.
            LOG.error("association failed: %s", kind_of(error))
        finally:
            with self._lock:
                self._connections -= 1
                if association is not None:
                    self._open.pop(association, None)
            with contextlib.suppress(OSError):
                connection.close()
            self._metrics.add("associations_total", outcome=outcome)
