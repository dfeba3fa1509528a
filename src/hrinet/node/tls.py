"""Certificates of the listening socket and of connections to the peer."""

from __future__ import annotations

import ssl
from pathlib import Path

from hrinet.errors import RequestError
from hrinet.node.config import NodeConfig


def server_tls(config: NodeConfig) -> ssl.SSLContext | None:
    """The TLS of the listening socket, or None if no certificate is given.

    Raises:
        RequestError: if the files cannot be used.
    """
    if config.tls_cert is None:
        if config.tls_key is not None:
            raise RequestError("--tls-key needs --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificates(context, config)
    if config.tls_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_certificates(context: ssl.SSLContext, config: NodeConfig) -> None:
    """Load certificate, key and trusted certificates into a context.

    Raises:
        RequestError: if the files cannot be used.
    """
    for option, path in (
        ("--tls-cert", config.tls_cert),
        ("--tls-key", config.tls_key),
        ("--tls-ca", config.tls_ca),
    ):
        if path is not None:
            _check_readable(option, path)
    try:
        if config.tls_cert is not None:
            context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        files = f"--tls-cert {config.tls_cert}"
        files += f" with --tls-key {config.tls_key}" if config.tls_key is not None else ""
        raise RequestError(f"{files}: cannot be used: {error}") from error
    try:
        if config.tls_ca is not None:
            context.load_verify_locations(config.tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise RequestError(f"--tls-ca {config.tls_ca}: cannot be used: {error}") from error


def _check_readable(option: str, path: Path) -> None:
    """Name the file, which the errors of OpenSSL do not."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise RequestError(f"{option} {path}: cannot be read: {error.strerror}") from error
