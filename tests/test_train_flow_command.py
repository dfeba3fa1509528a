from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("yaml")

from typer.testing import CliRunner

from flow_tools import TINY, make_scans, one_thread  # noqa: F401
from hrinet.commands.app import app
from hrinet.errors import RequestError
from hrinet.train.fields import make_config, recipe_names
from hrinet.train.flow.config import MAY_CHANGE, FlowTrainConfig
from hrinet.train.kinds import load_any_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("scans")
    make_scans(root)
    values = {"training": "flow", **TINY, "output": str(root / "run")}
    (root / "own.yaml").write_text(json.dumps(values))  # JSON is YAML
    return root


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "hrinet", "train", *map(str, arguments)]


def test_out_of_time_and_on(folder):
    arguments = [str(folder / "own.yaml"), "--manifest", str(folder / "manifest.json")]
    done = CliRunner().invoke(app, ["train", *arguments, "--max-minutes", "0", "-v"])
    assert done.exit_code == 0
    assert "stopped after step 1 of 6; the same command goes on" in done.stdout
    assert f"weights: {folder / 'run' / 'weights.safetensors'}" in done.stdout
    assert "1/6" in done.stderr  # the bar
    done = CliRunner().invoke(app, ["train", *arguments])
    assert done.exit_code == 0
    assert "stopped" not in done.stdout
    assert json.loads((folder / "run" / "weights.json").read_text())["steps"] == 6


def test_ctrl_c_reaches_the_processes_that_choose_samples_too(folder):
    """And ends the run all the same with a checkpoint and weights, of a time rather than steps."""
    output = folder / "interrupted"
    arguments = (folder / "own.yaml", "--manifest", folder / "manifest.json", "--output", output)
    more = ("--set", "minutes=5", "--set", "workers=1", "--set", "log_every=1")
    process = subprocess.Popen(
        command(*arguments, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    log, until = output / "log.jsonl", time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "stopped after step " in out
    assert " of " not in out.splitlines()[0]
    assert "Traceback" not in err
    assert (output / "weights.safetensors").exists()
    assert list(output.glob("checkpoint-*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "there is no manifest of scans to train on; pass --manifest JSON"),
        (["--cache", "x"], "--cache is not for hrinet-flow, whose scans are read from the"),
        (["--set", "cropp=1"], "hrinet-flow: there is no field 'cropp'; did you mean 'crop'?"),
    ],
)
def test_bad_requests_are_one_sentence(arguments, says):
    failed = CliRunner().invoke(app, ["train", "hrinet-flow", *arguments]).exception
    assert isinstance(failed, RequestError)
    assert failed.exit_code == 2
    assert says in str(failed)
    assert "\n" not in str(failed)


def test_the_recipe_is_the_defaults():
    config = load_any_config("hrinet-flow")
    assert config == FlowTrainConfig()
    assert "hrinet-flow" in recipe_names()
    assert load_any_config("hrinet-mse").training == "family"


def test_a_file_says_its_kind_and_overrides_win(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("training: flow\nlearning_rate: 1e-3\n")
    config = load_any_config(path, ["learning_rate=2e-4", "minutes=30", "seed=4"])
    assert isinstance(config, FlowTrainConfig)
    assert (config.learning_rate, config.minutes, config.seed) == (2e-4, 30.0, 4)
    path.write_text("batch: 8\n")
    assert load_any_config(path).training == "family"
    assert load_any_config(path, ["training=flow"]).training == "flow"
    for wrong in ("vae", "[flow]", "1"):
        with pytest.raises(RequestError, match=r"training is .*, expected one of 'family', 'flow'"):
            load_any_config(path, [f"training={wrong}"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps: 0", "steps is 0, expected more than 0"),
        ("minutes: 0", "minutes is 0.0, expected more than 0"),
        ("max_minutes: -1", "max_minutes is -1.0, expected 0 or more"),
        ("crop: 40", "crop is 40, expected a multiple of 16"),
        ("thick: 1.5", "thick is 1.5, expected 0 to 1"),
        (
            "smooth: 0.7\nsharp: 0.7",
            "smooth and sharp are 0.7 and 0.7, expected a sum of 1 or less",
        ),
        ("average: 1", "average is 1.0, expected less than 1"),
        ("coarse_width: 0", "coarse_width is 0, expected more than 0"),
        ("seed: -1", "seed is -1, expected 0 or more"),
        ("name: ../up", "name is '../up'"),
        ("batch: four", "batch is 'four', expected a whole number"),
        ("accelerator: tpu", "accelerator is 'tpu', expected one of 'auto', 'cpu', 'cuda', 'mps'"),
        ("stage1_steps: 5", "there is no field 'stage1_steps'; did you mean 'steps'?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, says):
    path = tmp_path / "own.yaml"
    path.write_text(f"training: flow\n{text}")
    with pytest.raises(RequestError) as caught:
        load_any_config(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_schedule_goes_by_steps_or_by_time():
    by_steps = FlowTrainConfig(steps=200, max_minutes=1.0)
    assert [by_steps.schedule(step, 1e9) for step in (0, 50, 200)] == [0.0, 0.25, 1.0]
    by_time = FlowTrainConfig(steps=200, minutes=2.0)
    assert [by_time.schedule(10**6, seconds) for seconds in (0, 30, 120)] == [0.0, 0.25, 1.0]


def test_plain_values_come_back_as_they_were():
    from dataclasses import asdict

    config = load_any_config("hrinet-flow", ["minutes=2.5", "workers=3"])
    plain = json.loads(json.dumps(asdict(config)))
    assert make_config(FlowTrainConfig, plain, subject="x") == config
    assert set(plain) > MAY_CHANGE


def test_reading_a_configuration_needs_no_torch():
    code = (
        "import sys; from hrinet.train.kinds import load_any_config;"
        "load_any_config('hrinet-flow'); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_folder_is_named_after_the_weights():
    assert FlowTrainConfig().output_folder() == Path("runs/hrinet-flow")
    assert FlowTrainConfig(output="x").output_folder() == Path("x")
