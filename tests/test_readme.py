from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import hrinet
from hrinet.synthesize.registry import METHODS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_two_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE)
    assert re.findall(r"^make (\w+)", README, flags=re.MULTILINE) == ["demo", "test"]


def test_figures_are_those_of_the_benchmark():
    assert load_tool("update_readme").quality_table() in README
    json.loads((ROOT / "benchmarks/results/quality.json").read_text("utf-8"))


def test_what_is_said_of_similarity_and_error_is_so():
    """PSNR (two ranges), error, SSIM in three planes; higher is better, but for the error."""
    found = json.loads((ROOT / "benchmarks/results/quality.json").read_text("utf-8"))
    behind = {"linear": {}, "cubic": {}, "flow": {}}
    for series in load_tool("update_readme").TEST_SERIES:
        for case, scores in found[series].items():
            for other, places in behind.items():
                lead = [a - b for a, b in zip(scores["hrinet-flow"], scores[other], strict=True)]
                lead[2] = -lead[2]
                assert min(lead[:3]) > 0, (series, case, other)
                if min(lead[3:]) < 0:
                    places[series, case.split()[0]] = -min(lead[3:])
    assert behind["linear"] == {}
    assert behind["cubic"].keys() == {("test/aapm_L291", "x2")}
    assert behind["flow"].keys() == {("test/aapm_L291", factor) for factor in ("x3", "x4", "x6")}
    for other, said in (("cubic", 0.001), ("flow", 0.002)):
        assert round(max(behind[other].values()), 3) == said
    assert "(abdomen, x2), its similarity is up to 0.001 below that of `cubic`" in README
    assert "higher on the abdomen at x3, x4 and x6, by up to 0.002" in README


def test_every_method_is_described():
    table = README.split("## Methods")[1].split("## ")[0]
    for method in METHODS:
        assert f"`{method.name}`" in table


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_python_example_uses_the_public_api():
    for name in re.findall(r"hrinet\.(\w+)\(", README):
        assert callable(getattr(hrinet, name))
