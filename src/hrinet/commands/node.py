"""``hrinet node``: the DICOM node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def node(
    store: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Queue, objects, results and dead letters.")
    ],
    aet: Annotated[str, typer.Option("--aet", metavar="AET", help="Our AE title.")] = "HRINET",
    port: Annotated[int, typer.Option(min=0, max=65535, help="To listen on.")] = 11112,
    bind: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Only this machine reaches the default.")
    ] = "127.0.0.1",
    peer: Annotated[
        str | None, typer.Option(metavar="AET@HOST:PORT", help="Results go there by C-STORE.")
    ] = None,
    peer_web: Annotated[
        str | None, typer.Option(metavar="URL", help="Results go there by STOW-RS.")
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="TOML", help="Which series; by default CT of 2 mm and more."),
    ] = None,
    quiet: Annotated[
        str, typer.Option(metavar="TIME", help="Without an object, then a series is complete.")
    ] = "10s",
    allow: Annotated[
        str | None,
        typer.Option(metavar="AET,...", help="AE titles that may call; by default all."),
    ] = None,
    max_associations: Annotated[int, typer.Option(min=1, max=512, help="At the same time.")] = 16,
    max_pdu: Annotated[int, typer.Option(help="Bytes of a protocol data unit.")] = 131072,
    max_object_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Larger objects are refused.")
    ] = "512M",
    max_queue: Annotated[
        str, typer.Option(metavar="SIZE", help="New series are refused beyond it.")
    ] = "64G",
    min_free: Annotated[
        str, typer.Option(metavar="SIZE", help="Objects are refused below it.")
    ] = "1G",
    retain: Annotated[
        str, typer.Option(metavar="TIME", help="Series that were sent are kept so long.")
    ] = "7d",
    work_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="For filling the gaps of one series.")
    ] = "1h",
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Our certificate; switches TLS on.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Who signed the certificates that peers must have."),
    ] = None,
    peer_tls: Annotated[bool, typer.Option("--peer-tls", help="C-STORE to the peer by TLS.")] = (
        False
    ),
    http: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS:PORT", help="Loopback address for /metrics and /health."),
    ] = None,
    watch_web: Annotated[
        str | None,
        typer.Option(metavar="URL", help="DICOMweb server whose new CT series are fetched."),
    ] = None,
    watch_every: Annotated[
        str, typer.Option(metavar="TIME", help="Between two queries to it.")
    ] = "30s",
    watch_since: Annotated[
        str,
        typer.Option(metavar="new|all|DATE", help="What is there already: all, or from YYYYMMDD."),
    ] = "new",
    listing: Annotated[
        bool, typer.Option("--list", help="Show the series in the store, and end.")
    ] = False,
    retry_dead: Annotated[
        bool, typer.Option("--retry-dead", help="Try the dead letters once more.")
    ] = False,
) -> None:
    """Receive series, fill their gaps, send the derived series on.

    Nothing that was acknowledged is lost: after a crash the same command goes on.
    """
    from hrinet.node import setup

    if listing:
        typer.echo(setup.list_store(store))
        return
    config = setup.make_config(
        store=store,
        title=aet,
        host=bind,
        port=port,
        peer=peer,
        peer_web=peer_web,
        rules=rules,
        quiet=quiet,
        allow=allow,
        max_associations=max_associations,
        max_pdu=max_pdu,
        max_object_size=max_object_size,
        max_queue=max_queue,
        min_free=min_free,
        retain=retain,
        work_timeout=work_timeout,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_ca=tls_ca,
        peer_tls=peer_tls,
        http=http,
        watch_web=watch_web,
        watch_every=watch_every,
        watch_since=watch_since,
    )
    setup.serve(config, retry_dead=retry_dead)
