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
    assert len(found) == 3  # with the validation patient
    for series, cases in found.items():
        for case, scores in cases.items():
            for other in ("linear", "cubic", "flow"):
                lead = [a - b for a, b in zip(scores["hrinet-flow"], scores[other], strict=True)]
                lead[2] = -lead[2]
                assert len(lead) == 6
                assert min(lead) > 0, (series, case, other)
    said = "ahead of `linear`, `cubic` and `flow` in PSNR, mean absolute error and structural"
    assert said in README


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
