from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from hrinet.report import doctor
from hrinet.report.doctor import describe_checkup, examine


def test_this_installation_is_healthy():
    checkup = examine()
    assert checkup["healthy"], checkup
    assert all(seconds > 0 for seconds in checkup["seconds_a_slice"].values())
    assert describe_checkup(checkup).endswith("All is well.")


def test_every_package_of_the_default_installation_is_looked_at():
    project = tomllib.loads(
        (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"),
    )["project"]
    names = [re.split("[<>=~ ;]", text)[0] for text in project["dependencies"]]
    assert sorted(doctor._PACKAGES) == sorted(names)


def test_a_default_method_that_cannot_run_is_not_healthy(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("hrinet.report.doctor._speed", dict)
    checkup = examine()
    assert "openvino" in checkup["methods"]["hrinet-flow"]
    assert not checkup["healthy"]


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("hrinet.report.doctor._PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr("hrinet.report.doctor._SYNTAXES", {"imagined": "1.2.3"})
    monkeypatch.setattr("hrinet.report.doctor._speed", dict)
    checkup = examine()
    assert not checkup["healthy"]
    text = describe_checkup(checkup)
    assert "no-such-package MISSING" in text
    assert "imagined MISSING" in text
