"""A node that begins: what it takes first, and what it lets go of if it cannot."""

from __future__ import annotations

import socket
import threading

import pytest

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")

from hrinet.errors import InputError, RequestError
from hrinet.node.config import NodeConfig
from hrinet.node.peers import parse_url
from hrinet.node.service import Node


def node_threads():
    return {thread.name for thread in threading.enumerate()} & {"committer", "status", "receiver"}


def test_an_address_that_is_none_leaves_no_store(tmp_path):
    store = tmp_path / "store"
    for host in ("300.1.1.1", "a" * 64 + ".org"):
        with pytest.raises(RequestError, match="cannot listen on"):
            Node(NodeConfig(store=store, host=host, port=0))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(RequestError, match="cannot listen on"):
            Node(NodeConfig(store=store, port=0, http=taken.getsockname()))
        with pytest.raises(RequestError, match="cannot listen on"):
            Node(NodeConfig(store=store, port=taken.getsockname()[1], http=("127.0.0.1", 0)))
    assert not store.exists()
    assert not node_threads()


@pytest.mark.parametrize("damaged", ["queue.sqlite3", "watch.sqlite3"])
def test_a_node_that_cannot_begin_lets_go_of_everything(tmp_path, damaged):
    web = parse_url("http://127.0.0.1:1/x")
    with socket.create_server(("127.0.0.1", 0)) as one:
        http = one.getsockname()
    settings = NodeConfig(store=tmp_path, port=0, http=http, watch_web=web)
    (tmp_path / damaged).write_bytes(b"no database" * 100)
    for _ in range(2):  # Neither the lock of the store nor an address is held.
        with pytest.raises(InputError, match=damaged):
            Node(settings)
    assert not node_threads()
    (tmp_path / damaged).unlink()
    Node(settings).stop()
    assert not node_threads()


def test_status_is_answered_when_the_node_has_begun(tmp_path):
    node = Node(NodeConfig(store=tmp_path / "store", port=0, http=("127.0.0.1", 0)))
    try:
        with socket.create_connection(("127.0.0.1", node.http_port), timeout=0.3) as client:
            client.sendall(
                f"GET /health HTTP/1.0\r\nHost: localhost:{node.http_port}\r\n\r\n".encode()
            )
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(20)
            node.start()
            assert b" 200 " in client.recv(64)
    finally:
        node.stop()
