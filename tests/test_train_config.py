from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

yaml = pytest.importorskip("yaml")

from hrinet.errors import InputError, RequestError  # noqa: E402
from hrinet.networks.family import FAMILY, TABLE_4_4  # noqa: E402
from hrinet.train.config import (  # noqa: E402
    MAY_CHANGE,
    TrainConfig,
    config_json,
    config_of,
    load_config,
)
from hrinet.train.fields import changed_fields  # noqa: E402
from train_tools import FAMILY_RECIPES  # noqa: E402

SWITCHES = ("mixing", "d1", "d2", "alternating", "content")


def switches(model) -> list:
    return [getattr(model, name) for name in SWITCHES]


def test_the_defaults_are_the_numbers_of_the_thesis():
    config = TrainConfig()
    assert (config.stage1_steps, config.stage2_steps, config.d2_steps) == (500_000, 500_000, 5)
    assert (config.learning_rate, config.weight_decay, config.run_length) == (1e-4, 1e-5, 7)
    weights = config.weights()
    assert (weights.lambda_, weights.epsilon, weights.penalty) == (0.5, 2e-5, 10)
    assert weights.beta == 5e-4
    assert TrainConfig(size=512).weights().beta == 5e-3
    assert TrainConfig(size=512, beta=0.25).weights().beta == 0.25


def test_the_recipes_are_the_rows_of_table_4_4():
    rows = ["ae", "ae-mixing", "ae-mixing-d1", "hrinet-patchgan", "hrinet-mse", "hrinet-perceptual"]
    for recipe, row in zip(rows, TABLE_4_4, strict=True):
        config = load_config(recipe)
        assert config.name == recipe
        assert switches(config.model()) == switches(row)
    assert switches(load_config("acai").model()) == switches(FAMILY["acai"])


def test_the_recipes_are_the_rows_of_table_4_5():
    fields = [1, 16, 70, 142, "full"]
    for field in fields:
        config = load_config(f"receptive-field-{field}")
        assert config.model() == dataclasses.replace(FAMILY["hrinet-mse"], receptive_field=field)
    assert len({load_config(name).name for name in FAMILY_RECIPES}) == len(FAMILY_RECIPES) == 12


def test_a_file_and_its_overrides(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("learning_rate: 1e-3\nbatch: 8\nadam_betas: [0.5, 0.9]\n")
    config = load_config(path, ["batch=32", "learning_rate=2e-4", "max_minutes=null"])
    assert (config.batch, config.learning_rate, config.adam_betas) == (32, 2e-4, (0.5, 0.9))
    assert config.max_minutes is None
    assert load_config(path).learning_rate == 1e-3
    path.write_text("# nothing\n")
    assert load_config(path) == TrainConfig()


def test_plain_values_come_back_as_they_were():
    import json

    config = load_config("receptive-field-full", ["max_minutes=1.5", "d2_adam_betas=[0, 0.5]"])
    assert config_of(json.loads(json.dumps(config_json(config))), subject="x") == config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("learning_rat: 1", "no field 'learning_rat'; did you mean 'learning_rate'?"),
        ("Batch: 1", "did you mean 'batch'?"),
        ("7: 1", "there is no field 7"),
        ("batch: four", "batch is 'four', expected a whole number"),
        ("batch: 2.5", "batch is 2.5, expected a whole number"),
        ("batch: true", "batch is True, expected a whole number"),
        ("d1: 1", "d1 is 1, expected true or false"),
        (
            "receptive_field: true",
            "receptive_field is True, expected one of 1, 16, 70, 142, 'full'",
        ),
        ("content: vgg", "content is 'vgg', expected one of 'mse', 'perceptual'"),
        ("beta: much", "beta is 'much', expected a number or null"),
        ("learning_rate: .nan", "learning_rate is nan, expected a number"),
        ("adam_betas: [0.9]", "expected a list of 2 numbers"),
        ("learning_rate: 0", "learning_rate is 0.0, expected more than 0"),
        ("weight_decay: -1", "weight_decay is -1.0, expected 0 or more"),
        ("adam_betas: [0.9, 1]", "adam_betas is (0.9, 1.0)"),
        ("run_length: 2", "run_length is 2, expected 3 or more"),
        ("name: ../up", "name is '../up'"),
        ("name: .", "name is '.', expected letters"),
        ("name: ..", "name is '..', expected letters"),
        (f"learning_rate: 1{'0' * 400}", "expected a number"),
        (f"seed: {2**63}", "seed is 9223372036854775808, expected less than 2**63"),
        ("scale: 1.5", "scale is 1.5, expected more than 0 and at most 1"),
        ("name: acai", "name is 'acai', whose mixing is 'one', but mixing is 'three'"),
        ("size: 100", "multiple of 64"),
        ("batch: 5\naccumulate: 2", "expected a multiple of 2"),
        ("devices: 2", "runs is 1, which 2 processes cannot share"),
        ("stage1_steps: 0\nstage2_steps: 0", "nothing to train"),
        (
            "name: x\ncontent: perceptual\nstage1_steps: 0",
            "the loss network is the encoder of stage 1",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, says):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(RequestError) as caught:
        load_config(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: [1, 2", "is no YAML in line 1"),
        (b"- a\n- b\n", "expected lines of 'key: value'"),
        (b"just text", "expected lines of 'key: value'"),
        (b"batch: " + b"1" * 5000, "is no YAML"),
        (b"batch: 2001-99-99", "is no YAML"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"!!python/object/apply:os.system ['exit 3']", "is no YAML"),
    ],
)
def test_bad_files(tmp_path, content, says):
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"own\.yaml") as caught:
        load_config(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_a_run_does_not_hide_the_recipe_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "hrinet-mse").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config("hrinet-mse").name == "hrinet-mse"


def test_missing_files_and_bad_overrides(tmp_path):
    with pytest.raises(InputError, match="nor is it one of the recipes acai, ae"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(RequestError, match="expected key=value"):
        load_config("ae", ["batch"])
    for value in ("[1", "1" * 5000):
        with pytest.raises(RequestError, match="the value is no YAML"):
            load_config("ae", [f"batch={value}"])


def test_scale_shortens_both_stages():
    config = TrainConfig(scale=0.01)
    assert (config.first_steps, config.second_steps, config.steps) == (5000, 5000, 10_000)
    assert TrainConfig(scale=1e-9).steps == 2  # at least one step of what there is
    assert TrainConfig(stage2_steps=0, scale=1e-9).steps == 1


def test_only_where_and_how_may_change():
    one = TrainConfig()
    assert set(MAY_CHANGE) < {field.name for field in dataclasses.fields(TrainConfig)}
    other = dataclasses.replace(one, output="x", max_minutes=3.0, batch=32, seed=1)
    assert changed_fields(one, other, may_change=MAY_CHANGE) == ["batch", "seed"]


def test_reading_a_configuration_needs_no_torch():
    code = (
        "import sys; from hrinet.train.config import load_config; load_config('ae');"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
