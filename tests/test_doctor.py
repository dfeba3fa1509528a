from __future__ import annotations

from hrinet.report.doctor import describe_checkup, examine


def test_this_installation_is_healthy():
    checkup = examine()
    assert checkup["healthy"], checkup
    assert all(seconds > 0 for seconds in checkup["seconds_a_slice"].values())
    assert describe_checkup(checkup).endswith("All is well.")


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("hrinet.report.doctor._PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr("hrinet.report.doctor._SYNTAXES", {"imagined": "1.2.3"})
    monkeypatch.setattr("hrinet.report.doctor._speed", dict)
    checkup = examine()
    assert not checkup["healthy"]
    text = describe_checkup(checkup)
    assert "no-such-package MISSING" in text
    assert "imagined MISSING" in text
