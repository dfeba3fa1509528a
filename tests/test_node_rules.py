"""Rules, queue, and the words of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hrinet.commands.app import app
from hrinet.errors import InputError, RequestError
from hrinet.node import extra, setup
from hrinet.node.config import NodeConfig, parse_bytes, parse_http, parse_seconds
from hrinet.node.header import Header
from hrinet.node.http import is_loopback
from hrinet.node.names import is_uid, key_of, safe_title
from hrinet.node.queue import Arrival, Queue
from hrinet.node.rules import DEFAULT_RULES, Facts, Rule, choose, load_rules, spacing_of, waiting
from hrinet.node.service import Node
from hrinet.synthesize import registry

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"

THICK = Facts(
    modality="CT",
    calling="CT1",
    description="Chest 5.0 B30f",
    image_type="ORIGINAL\\PRIMARY\\AXIAL",
    instances=40,
    spacing_mm=5.0,
    thickness_mm=5.0,
)


@pytest.mark.parametrize(
    ("changes", "is_taken"),
    [
        ({}, True),
        ({"modality": "MR"}, False),
        ({"spacing_mm": 1.0}, False),
        ({"spacing_mm": 2.0}, True),
        ({"spacing_mm": None}, False),
        ({"image_type": "ORIGINAL\\PRIMARY\\LOCALIZER"}, False),
        ({"image_type": "DERIVED\\SECONDARY\\AXIAL"}, False),
        ({"image_type": "DERIVED\\PRIMARY\\AXIAL"}, True),
        ({"instances": 2}, False),
    ],
)
def test_the_default_takes_thick_ct_only(changes, is_taken):
    rule, why_not = choose(DEFAULT_RULES, replace(THICK, **changes))
    assert (rule is not None) == is_taken
    assert bool(why_not) != is_taken


@pytest.mark.parametrize(
    ("rule", "is_taken"),
    [
        ({"calling": ("CT1",)}, True),
        ({"calling": ("CT2",)}, False),
        ({"description": ("*CHEST*",)}, True),
        ({"description": ("*head*", "*b30*")}, True),
        ({"description": ("head*",)}, False),
        ({"not_description": ("*5.0*",)}, False),
        ({"image_type": ("AXIAL",)}, True),
        ({"image_type": ("AXIAL", "HELICAL")}, False),
        ({"min_thickness_mm": 5.0}, True),
        ({"min_thickness_mm": 5.1}, False),
    ],
)
def test_conditions(rule, is_taken):
    assert (choose((Rule(name="one", **rule),), THICK)[0] is not None) == is_taken


def test_the_first_rule_that_takes_a_series_decides():
    rules = (
        Rule(name="mr", modality=("MR",)),
        Rule(name="thin", action="ignore", description=("*chest*",)),
        Rule(name="all"),
    )
    assert choose(rules, THICK)[0] is rules[1]
    assert choose(rules, replace(THICK, description=""))[0] is rules[2]


def test_waiting_looks_at_what_is_known_while_a_series_arrives():
    rules = (Rule(name="thick", min_spacing_mm=3.0, min_instances=10, quiet_s=30.0, instances=40),)
    assert waiting(rules, replace(THICK, spacing_mm=None, instances=1)) == (30.0, 40)


@given(st.floats(-1000, 1000), st.floats(0.1, 20), st.integers(2, 60), st.randoms())
def test_spacing_is_that_of_an_even_stack_in_any_order(start, spacing, count, chance):
    positions = [start + k * spacing for k in range(count)]
    chance.shuffle(positions)
    assert spacing_of(positions) == pytest.approx(spacing, abs=2e-3)


def test_the_rules_of_the_guide_are_rules():
    rules = load_rules(DEPLOY / "rules.toml")
    assert choose(rules, THICK)[0].name == "thick CT of the trunk"
    assert choose(rules, replace(THICK, image_type="ORIGINAL\\LOCALIZER"))[0].action == "ignore"
    assert choose(rules, replace(THICK, description="Head"))[0] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rule = 3", r"has no \[\[rule\]\]"),
        ("[[rule", "no TOML"),
        ("[node]\n", "unknown key 'node'"),
        ("[[rule]]\nmin_spacing = 2", "rule 1: unknown key 'min_spacing'"),
        ("[[rule]]\nmin_spacing_mm = 'two'", "min_spacing_mm is 'two', expected a number"),
        ("[[rule]]\nmin_spacing_mm = -1", "expected a number that is not negative"),
        ("[[rule]]\nmin_spacing_mm = nan", "expected a number"),
        ("[[rule]]\n[[rule]]\ninstances = 0", "rule 2: instances is 0, expected a whole number"),
        ("[[rule]]\naction = 'delete'", "action is 'delete', expected one of interpolate"),
        ("[[rule]]\nmodality = [1]", "expected a text or a list of texts"),
        ("[[rule]]\n[[rule]]\nmethod = 'lineal'", "rule 2: no method 'lineal'; choose one of"),
        ("[[rule]]\nspacing = 'fine'", "rule 1: spacing is 'fine', expected 'iso' or a number"),
        ("[[rule]]\nspacing = -1", "spacing is '-1', expected 'iso' or a number of mm"),
        ("[[rule]]\nfactor = 257", "factor is 257, expected 1 to 256"),
        ("[[rule]]\nfactor = 2\nspacing = 1", "spacing and factor exclude each other"),
    ],
)
def test_wrong_rules_are_told_with_file_rule_and_key(tmp_path, text, said):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        load_rules(path)
    assert str(path) in str(caught.value)


def test_a_method_that_is_not_installed_is_told_with_the_rule(tmp_path, monkeypatch):
    path = tmp_path / "rules.toml"
    path.write_text("[[rule]]\nmethod = 'ae'")
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"rule 1: method 'ae' needs .*pip install"):
        load_rules(path)


def arrival(number, *, digest="d", series="1.2"):
    return Arrival(
        header=Header(
            sop_class="1.1", sop_instance=f"1.3.{number}", study="1", series=series, modality="CT"
        ),
        file=f"a/{number}.dcm",
        size=10,
        digest=digest,
        transfer_syntax="1.2.840.10008.1.2.1",
        calling="CT1",
    )


def test_the_queue_knows_duplicates_and_conflicts(tmp_path):
    queue = Queue(tmp_path / "q")
    assert queue.add([arrival(1), arrival(1), arrival(1, digest="e")]) == [
        "stored",
        "duplicate",
        "conflict",
    ]
    again = replace(arrival(1, digest="e"), transfer_syntax="1.2.840.10008.1.2.4.80")
    assert queue.add([again, arrival(1, series="1.9")]) == ["duplicate", "conflict"]
    (series,) = queue.series()
    assert (series.instances, series.bytes) == (1, 10)


def test_a_step_is_void_if_an_object_came_in_meanwhile(tmp_path):
    queue = Queue(tmp_path / "q")
    queue.add([arrival(1)])
    (seen,) = queue.series()
    queue.add([arrival(2)])
    assert not queue.advance(seen, "complete")
    (now,) = queue.series()
    assert queue.advance(now, "complete")
    assert not queue.advance(now, "complete")


def test_a_queue_that_is_none_or_newer_is_refused(tmp_path):
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(InputError, match="cannot be opened as a queue"):
        Queue(tmp_path / "text")
    queue = Queue(tmp_path / "q")
    queue._db.execute("PRAGMA user_version=9")
    queue.close()
    with pytest.raises(InputError, match="version 9, expected 1"):
        Queue(tmp_path / "q")


@given(st.text(max_size=100))
def test_keys_and_titles_are_safe_whatever_a_peer_sends(text):
    assert key_of(text).isalnum()
    assert len(key_of(text)) == 24
    shown = safe_title(text)
    assert len(shown) <= 16
    assert shown.isprintable()
    if is_uid(text):
        assert set(text) <= set("0123456789.")


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("64GiB", 64 << 30), ("1.5k", 1536), ("7", 7)]
)
def test_sizes(text, size):
    assert parse_bytes(text, option="--x") == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("5m", 300), ("7d", 604800), ("3", 3), ("250ms", 0.25)]
)
def test_times(text, seconds):
    assert parse_seconds(text, option="--x") == seconds


@pytest.mark.parametrize("text", ["", "M", "-1", "0", "1x", "9" * 400])
def test_wrong_sizes_and_times(text):
    with pytest.raises(RequestError, match="--x"):
        parse_bytes(text, option="--x")
    if text != "0":
        with pytest.raises(RequestError, match="--x"):
            parse_seconds(text, option="--x")


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:9112",
        "192.0.2.1:80",
        "9112",
        "localhost:x",
        "127.0.0.1:²",
        "127.0.0.1:" + "9" * 5000,
    ],
)
def test_metrics_are_for_loopback_only(text):
    with pytest.raises(RequestError, match="no loopback address"):
        parse_http(text, is_loopback=is_loopback)


def test_loopback_addresses():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "example.org", "")))


def configured(store, **changes):
    """What the command makes of its options."""
    options = {
        "title": "HRINET",
        "host": "127.0.0.1",
        "port": 0,
        "peer": None,
        "peer_web": None,
        "rules": None,
        "quiet": "10s",
        "allow": None,
        "max_associations": 16,
        "max_pdu": 131072,
        "max_object_size": "512M",
        "max_queue": "64G",
        "min_free": "1G",
        "retain": "7d",
        "work_timeout": "1h",
        "tls_cert": None,
        "tls_key": None,
        "tls_ca": None,
        "peer_tls": False,
        "http": None,
    }
    pytest.importorskip("pynetdicom", reason="needs the [node] extra")
    pytest.importorskip("dicomweb_client", reason="needs the [node] extra")
    return setup.make_config(store=store, **(options | changes))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"peer": "nobody"}, "'nobody' is no peer; expected AET@HOST:PORT"),
        ({"peer": "A@h:99999"}, "is no peer"),
        ({"peer": "http://h"}, "pass it as --peer-web"),
        ({"peer": "A@h:1", "peer_web": "http://h"}, "exclude each other"),
        ({"peer_web": "ftp://h"}, "is no http"),
        ({"peer_web": "http://[::1/x"}, "is no http"),
        ({"peer_web": "http://h:abc/x"}, "is no http"),
        ({"peer_web": "http://h:99999/x"}, "is no http"),
        ({"peer_web": "http://h:0"}, "is no http"),
        ({"peer": "A@h:" + "9" * 5000}, "is no peer"),
        ({"title": "A" * 17}, "is no AE title"),
        ({"allow": "A,,B"}, "is no AE title"),
        ({"max_pdu": 10}, "--max-pdu 10 is not between"),
        ({"peer_tls": True}, "--peer-tls is for --peer"),
    ],
)
def test_wrong_options_are_told(tmp_path, options, said):
    with pytest.raises(RequestError, match=said):
        configured(tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "url",
    [
        *("http://user:secret@h/", "http://user:secret@h:abc/x", "http://user:secret@[::1/x"),
        *("HTTP://user:secret@h", " https://user:secret@h", "Https:user:secret@h"),
        *("https:/user:secret@h/x", "http://user:se/secret@h", "http://h/x?user:secret@h"),
    ],
)
@pytest.mark.parametrize("option", ["peer", "peer_web", "watch_web"])
def test_credentials_in_a_url_are_refused_and_not_repeated(tmp_path, url, option):
    with pytest.raises(RequestError, match="do not belong in a URL") as caught:
        configured(tmp_path, **{option: url})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("ftp://user:secret@h", "htp://a:secret@h:80", "//user:secret@h:80"),
        *("user:secret@h", "user:secret@h:99999", "user:secret@a@h:80", "\xe9:secret@h:80"),
    ],
)
def test_what_may_be_a_password_is_not_repeated(tmp_path, text):
    with pytest.raises(RequestError, match="is no peer; expected AET@HOST:PORT") as caught:
        configured(tmp_path, peer=text)
    assert "secret" not in str(caught.value)
    with pytest.raises(RequestError, match="do not belong in a URL") as caught:
        configured(tmp_path, peer_web=text)
    assert "secret" not in str(caught.value)


def test_the_scheme_of_a_url_may_be_written_in_capitals(tmp_path):
    made = configured(tmp_path, peer_web=" HTTPS://PACS.example/Web/")
    assert made.peer.url == "https://PACS.example/Web"
    with pytest.raises(RequestError, match="pass it as --peer-web"):
        configured(tmp_path, peer="HTTP://h")


def test_the_certificate_that_is_missing_is_named(tmp_path):
    there, gone = tmp_path / "there.pem", tmp_path / "gone.pem"
    there.write_text("no certificate")
    for options, said in (
        ({"tls_cert": gone}, f"--tls-cert {gone}: cannot be read: No such file"),
        ({"tls_cert": there, "tls_key": gone}, f"--tls-key {gone}: cannot be read"),
        ({"tls_cert": there, "tls_ca": gone}, f"--tls-ca {gone}: cannot be read"),
        ({"tls_cert": there}, f"--tls-cert {there}: cannot be used"),
    ):
        with pytest.raises(RequestError) as caught:
            Node(NodeConfig(store=tmp_path / "store", port=0, **options))
        assert str(caught.value).startswith(said)
    assert not (tmp_path / "store").exists()


def test_options_are_understood(tmp_path):
    made = configured(tmp_path, peer="PACS@[::1]:104", allow="A, B", quiet="1m", max_queue="1T")
    assert (made.peer.title, made.peer.host, made.peer.port) == ("PACS", "[::1]", 104)
    assert made.allowed == {"A", "B"}
    assert (made.quiet_s, made.max_queue_bytes) == (60.0, 1 << 40)


def test_the_command_says_what_is_wrong_with_code_2(tmp_path):
    command = [sys.executable, "-m", "hrinet", "node", "--store", str(tmp_path / "s")]
    result = subprocess.run([*command, "--peer", "nobody"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("hrinet: ")
    assert "Traceback" not in result.stderr


def test_pull_refuses_a_port_that_is_none():
    run = CliRunner().invoke(app, ["pull", "A@127.0.0.1:1", "--port", "99999"])
    assert run.exit_code == 2
    assert "less than or equal to 65535" in run.output


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'hrinet\[node\]'"):
        extra.require_node_extra()


def test_listing_what_is_no_store(tmp_path):
    with pytest.raises(InputError, match="is no store"):
        setup.list_store(tmp_path)


def test_the_files_of_the_guide_are_well_formed():
    assert json.loads((DEPLOY / "orthanc.json").read_text())["DicomPort"] == 4242
    unit = (DEPLOY / "hrinet-node.service").read_text()
    assert "hrinet node --store" in unit
    options = (DEPLOY / "node.env").read_text()
    shown = CliRunner().invoke(app, ["node", "--help"], env={"COLUMNS": "200"}).output
    for option in ("--aet", "--port", "--bind", "--peer", "--rules", "--http"):
        assert option in options
        assert option in shown
