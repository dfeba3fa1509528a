from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from train_tools import TINY, make_cache


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("scans")
    make_cache(root)
    values = {**TINY, "cache": str(root / "cache"), "output": str(root / "run")}
    (root / "own.yaml").write_text(json.dumps(values))  # JSON is YAML
    return root


def hrinet_train(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hrinet", "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_out_of_time_and_on(folder):
    done = hrinet_train(folder / "own.yaml", "--max-minutes", 0, "-v")
    assert done.returncode == 0
    assert "stopped after step 1 of 10; the same command goes on" in done.stdout
    assert f"weights: {folder / 'run' / 'weights.safetensors'}" in done.stdout
    assert "1/10" in done.stderr  # the bar
    done = hrinet_train(folder / "own.yaml")
    assert done.returncode == 0
    assert "stopped" not in done.stdout
    assert json.loads((folder / "run" / "weights.json").read_text())["steps"] == 10


def test_what_breaks_down_exits_with_1_and_one_sentence(folder):
    done = hrinet_train(
        *(folder / "own.yaml", "--output", folder / "bad"),
        *("--set", "learning_rate=1e18", "--set", "checkpoint_every=1"),
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("hrinet:")]
    assert len(lines) == 1
    assert "training broke down by step" in lines[0]
    assert "Traceback" not in done.stderr
    assert list((folder / "bad").glob("checkpoint-*.safetensors"))


def test_a_wrong_key_exits_with_2_and_one_sentence(folder):
    done = hrinet_train(folder / "own.yaml", "--set", "learning_rat=1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean 'learning_rate'?" in done.stderr
