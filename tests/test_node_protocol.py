"""Peers that do not keep to the rules: every one is answered or cut off, none harms the node."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import struct
import subprocess

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")

from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import decode

from hrinet.node import dimse, pdu
from node_tools import (
    CT,
    Sender,
    config,
    dcmtk,
    encoded,
    make_object,
    running,
    wait_for,
    wait_for_state,
    write_series,
)

MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def node(tmp_path):
    with running(config(tmp_path / "store", quiet_s=60, network_timeout_s=3.0)) as one:
        yield one


def stored_files(node):
    return list(node.store.objects.root.rglob("*.dcm"))


def assert_well(node):
    """It still takes objects, and keeps no leftovers."""
    with Sender(node.port) as sender:
        assert sender.send(make_object(777, 1)) == 0
    wait_for(lambda: node._receiver.open_count == 0, what="the end of all associations")
    assert len(stored_files(node)) == len(node.store.rows.known_files())


def request(*, called=b"HRINET", classes=(CT,)):
    """An A-ASSOCIATE-RQ, made by hand (PS3.8 9.3.2)."""

    def item(kind, value):
        return struct.pack(">BBH", kind, 0, len(value)) + value

    contexts = b"".join(
        item(
            0x20,
            struct.pack(">BBBB", 2 * k + 1, 0, 0, 0)
            + item(0x30, uid.encode())
            + item(0x40, b"1.2.840.10008.1.2.1"),
        )
        for k, uid in enumerate(classes)
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    body = (
        struct.pack(">HH", 1, 0)
        + called.ljust(16)
        + b"RAW".ljust(16)
        + b"\0" * 32
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + contexts
        + user
    )
    return struct.pack(">BBL", 1, 0, len(body)) + body


def command(*, instance="1.2.3.4.5", sop_class=CT, field=1, message=7):
    elements = [
        (0x0002, sop_class.encode() + b"\0" * (len(sop_class) % 2)),
        (0x0100, struct.pack("<H", field)),
        (0x0110, struct.pack("<H", message)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 1)),
        (0x1000, instance.encode() + b"\0" * (len(instance) % 2)),
    ]
    body = b"".join(struct.pack("<HHL", 0, tag, len(v)) + v for tag, v in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def data(value, *, control, context=1):
    item = struct.pack(">LBB", len(value) + 2, context, control) + value
    return struct.pack(">BBL", 4, 0, len(item)) + item


def connect(node):
    one = socket.create_connection(("127.0.0.1", node.port), timeout=10)
    one.sendall(request())
    assert answer(one)[0] == 2
    return one


def answer(one):
    """Type and value of the next PDU; (0, nothing) where the connection ends."""
    head = b""
    try:
        while len(head) < 6:
            got = one.recv(6 - len(head))
            if not got:
                return 0, b""
            head += got
        kind, _, length = struct.unpack(">BBL", head)
        value = b""
        while len(value) < length:
            value += one.recv(length - len(value))
    except ConnectionError:
        return 0, b""
    return kind, value


def status_of(one):
    """Status and comment of a C-STORE response."""
    kind, value = answer(one)
    assert kind == 4
    response = decode(io.BytesIO(value[6:]), True, True)
    return response.Status, response.get("ErrorComment", "")


def store_raw(one, dataset, **changes):
    one.sendall(data(command(**changes), control=3) + data(dataset, control=2))
    return status_of(one)


def test_echo(node):
    with Sender(node.port) as sender:
        assert sender.association.send_c_echo().Status == 0


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_programs_of_dcmtk_are_understood(tmp_path, node, program):
    paths = write_series(tmp_path / "in", count=4)
    done = subprocess.run(
        [dcmtk(program), "-aec", "HRINET", "127.0.0.1", str(node.port), *paths],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(stored_files(node)) == 4
    for path in stored_files(node):
        kept = path.read_bytes()
        offset = 144 + int.from_bytes(kept[140:144], "little")
        assert any(original.read_bytes().endswith(kept[offset:]) for original in paths)


def test_echoscu_of_dcmtk(node):
    done = subprocess.run(
        [dcmtk("echoscu"), "-aec", "HRINET", "127.0.0.1", str(node.port)],
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 0


def test_titles_are_checked(tmp_path):
    settings_ = config(tmp_path / "store", allowed=frozenset({"FRIEND"}))
    with running(settings_) as node:
        for calling, title, is_open in (
            ("FRIEND", "HRINET", True),
            ("STRANGER", "HRINET", False),
            ("FRIEND", "OTHER", False),
        ):
            sender = Sender(node.port, calling=calling, title=title)
            assert sender.is_open == is_open
            sender.close()


def test_other_classes_are_not_accepted(node):
    sender = Sender(node.port, classes=(MR,))
    accepted = [context.abstract_syntax for context in sender.association.accepted_contexts]
    assert accepted == ["1.2.840.10008.1.1"]
    sender.close()


def test_associations_are_limited(tmp_path):
    with running(config(tmp_path / "store", max_associations=2, quiet_s=60)) as node:
        first, second = Sender(node.port), Sender(node.port)
        third = Sender(node.port)
        assert (first.is_open, second.is_open, third.is_open) == (True, True, False)
        first.close()
        wait_for(lambda: node._receiver.open_count < 2, what="the release")
        fourth = Sender(node.port)
        assert fourth.is_open
        fourth.close()
        second.close()


def test_objects_beyond_the_limit_are_refused_while_they_come_in(tmp_path):
    with running(config(tmp_path / "store", max_object_bytes=2000, quiet_s=60)) as node:
        with Sender(node.port) as sender:
            assert sender.send(make_object(1, 1, rows=16)) == 0
            assert sender.send(make_object(1, 2, rows=36)) == 0xA700
            assert sender.send(make_object(1, 3, rows=16)) == 0
        assert len(stored_files(node)) == 2
        # One that never ends is cut off.
        with connect(node) as one:
            one.sendall(data(command(), control=3))
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                for _ in range(10_000):
                    one.sendall(data(b"x" * 4000, control=0))
        assert_well(node)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"StudyInstanceUID": None}, "has no Study Instance UID (0020,000d)"),
        ({"SeriesInstanceUID": ""}, "has no Series Instance UID (0020,000e)"),
        ({"SOPInstanceUID": "1.2.3.1.9.8"}, "the dataset's SOP UIDs are not those of the command"),
        ({"SOPClassUID": MR}, "the dataset's SOP UIDs are not those of the command"),
    ],
)
def test_objects_that_cannot_be_filed_are_refused_with_the_reason(node, changes, reason):
    dataset = encoded(make_object(1, 1, **changes))
    with connect(node) as one:
        status, comment = store_raw(one, dataset, instance="1.2.3.1.9.1")
    assert status in (0xC000, 0xA900)
    assert comment == reason[:64]
    assert_well(node)


def test_file_meta_information_is_no_part_of_a_dataset(node):
    meta = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    with connect(node) as one:
        sent = meta + encoded(make_object(1, 1))
        status, comment = store_raw(one, sent, instance="1.2.3.1.9.1")
    assert (status, comment) == (0xC000, "the dataset begins with file meta information")


def test_hostile_uids_are_refused_and_never_become_paths(node):
    for uid in ("../../../etc/passwd", "/etc/passwd", "1.2\\3", "..", "CON", "1" * 65):
        dataset = encoded(make_object(1, 1))
        dataset = dataset.replace(b"1.2.3.1.9.1\0", uid[:11].ljust(12, "\0").encode()[:12])
        with connect(node) as one:
            status, _ = store_raw(one, dataset, instance=uid)
            assert status in (0xC000, 0xA900), uid
    dataset = encoded(make_object(1, 1, SeriesInstanceUID="../../1"))
    with connect(node) as one:
        assert store_raw(one, dataset, instance="1.2.3.1.9.1")[0] == 0xC000
    assert_well(node)


def test_an_association_that_breaks_in_the_middle_of_an_object_leaves_nothing(node):
    whole = data(command(), control=3) + data(encoded(make_object(1, 1)), control=2)
    for cut in np.linspace(1, len(whole) - 1, 12).astype(int):
        with connect(node) as one:
            one.sendall(whole[:cut])
    assert_well(node)
    assert len(stored_files(node)) == 1


def test_half_an_association_is_given_up_after_its_time(tmp_path):
    settings_ = config(tmp_path / "store", acse_timeout_s=0.3, network_timeout_s=0.3)
    with running(settings_) as node:
        with socket.create_connection(("127.0.0.1", node.port), timeout=5) as one:
            one.sendall(request()[:40])
            assert answer(one)[0] in (0, 7)
        with connect(node) as one:
            one.sendall(data(command(), control=3)[:20])
            assert answer(one)[0] in (0, 7)
        assert_well(node)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        b"\x01\x00\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x02ab",
        b"\x99" * 100,
        request()[:-5] + b"\xff" * 5,
    ],
)
def test_what_is_no_request_is_cut_off(node, sent):
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as one:
        one.sendall(sent)
        one.shutdown(socket.SHUT_WR)
        assert answer(one)[0] in (0, 7)
    assert_well(node)


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">BBL", 4, 0, 1 << 31),
        data(command(), control=3, context=99),
        data(b"no command", control=3),
        data(encoded(make_object(1, 1)), control=2),
        data(command(), control=3) * 2,
        data(command(field=0x8001), control=3),
        data(b"\0" * 20_000, control=1),
        struct.pack(">BBLLBB", 4, 0, 6, 1, 1, 3),
        struct.pack(">BBLLBB", 4, 0, 6, 500, 1, 3),
        request(),
    ],
)
def test_breaches_of_the_protocol_abort_the_association(node, sent):
    with connect(node) as one:
        one.sendall(sent)
        assert answer(one)[0] == 7
    assert_well(node)


def test_an_operation_that_is_not_offered_is_answered(node):
    with connect(node) as one:
        assert store_raw(one, b"\x08\x00\x05\x00CS\x00\x00", field=0x20)[0] == 0x0211
    assert_well(node)


def test_a_fragmented_object_arrives_whole(node):
    dataset = encoded(make_object(1, 1))
    order = command(instance="1.2.3.1.9.1")
    with connect(node) as one:
        one.sendall(data(order[:50], control=1) + data(order[50:], control=3))
        for start in range(0, len(dataset), 7):
            one.sendall(data(dataset[start : start + 7], control=0))
        one.sendall(data(b"", control=2))
        assert status_of(one)[0] == 0
    (path,) = stored_files(node)
    assert path.read_bytes().endswith(dataset)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_command_or_an_error(raw):
    with contextlib.suppress(dimse.DimseError):
        dimse.decode_command(raw)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_fragments_or_an_error(raw):
    with contextlib.suppress(pdu.PduError):
        assert sum(len(part) for *_, part in pdu.fragments(memoryview(raw))) <= len(raw)


@given(
    st.integers(0, 0xFFFF),
    st.text(st.characters(max_codepoint=127, exclude_categories=["Cc"]), max_size=80),
)
def test_responses_are_read_by_pynetdicom(status, comment):
    asked = dimse.decode_command(command(instance="1.2.3.4.55"))
    response = decode(io.BytesIO(dimse.encode_response(asked, status, comment)), True, True)
    assert response.Status == status
    assert response.CommandField == 0x8001
    assert response.MessageIDBeingRespondedTo == 7
    assert response.AffectedSOPInstanceUID == "1.2.3.4.55"
    assert response.CommandGroupLength == len(dimse.encode_response(asked, status, comment)) - 12


def test_mutated_objects_are_refused_or_filed_and_never_harm(tmp_path):
    generator = np.random.default_rng(3)
    outcomes = {}
    with running(config(tmp_path / "store", quiet_s=60)) as node:
        one = connect(node)
        for number in range(1, 61):
            dataset = bytearray(encoded(make_object(1, number)))
            for place in generator.integers(0, 400, 6):
                dataset[place] = generator.integers(256)
            status, comment = store_raw(one, bytes(dataset), instance=f"1.2.3.1.9.{number}")
            assert status == 0 or comment
            outcomes[status] = outcomes.get(status, 0) + 1
        one.close()
        assert_well(node)
        assert len(node.store.rows.known_files()) == outcomes.get(0, 0) + 1
    assert len(outcomes) > 1


def test_tls_with_certificates_of_both_sides(tmp_path):
    for name in ("node", "peer"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj"),
                *("/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")),
            ],
            check=True,
            capture_output=True,
        )
    settings_ = config(
        tmp_path / "store",
        tls_cert=tmp_path / "node.pem",
        tls_key=tmp_path / "node.key",
        tls_ca=tmp_path / "peer.pem",
    )
    context = ssl.create_default_context(cafile=tmp_path / "node.pem")
    with running(settings_) as node:
        stranger = Sender(node.port, tls=context)
        assert not stranger.is_open
        assert not Sender(node.port).is_open
        context.load_cert_chain(tmp_path / "peer.pem", tmp_path / "peer.key")
        with Sender(node.port, tls=context) as sender:
            assert sender.send(make_object(1, 1)) == 0
        wait_for_state(node, sent=1)
