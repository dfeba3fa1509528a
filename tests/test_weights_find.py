from __future__ import annotations

from pathlib import Path

import pytest

from hrinet.errors import InputError
from hrinet.weights import packaged_weights
from hrinet.weights.find import find_weights, installed_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the output of a training, ``run``."""
    monkeypatch.chdir(tmp_path)
    for name in ("run/weights.safetensors", "run/weights.json", "run/log.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_file_and_the_folder_of_a_training(folder):
    file = folder / "run" / "weights.safetensors"
    assert find_weights(file) == file
    assert find_weights(folder / "run") == file
    assert find_weights("run") == Path("run/weights.safetensors")


def test_the_name_of_a_method(folder):
    assert "hrinet-flow" in installed_weights()
    for name in installed_weights():
        assert find_weights(name) == packaged_weights(name)
        assert find_weights(name).is_file()
    # What lies here is meant first.
    (folder / "run").rename(folder / "hrinet-flow")
    assert find_weights("hrinet-flow") == Path("hrinet-flow/weights.safetensors")


@pytest.mark.parametrize("left", ["log.jsonl", "checkpoint-000000003.safetensors"])
def test_a_training_that_goes_on(folder, left):
    for path in (folder / "run").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"holds no weights\.safetensors; expected the output"):
        find_weights(folder / "run")
    (folder / "run" / left).touch()
    with pytest.raises(InputError, match=r"has written no weights yet.*wait for its end, or"):
        find_weights(folder / "run")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nothing", r"^nothing: does not exist; expected a \.safetensors file, .*, hrinet-flow"),
        ("linear", "^linear: does not exist"),
        ("none/w.safetensors", "does not exist"),
        ("run/weights.json", r"is the description of weights; .* run/weights\.safetensors$"),
        ("lone.safetensors", r"has no lone\.json beside it"),
        ("checkpoint-000000003.safetensors", r"is a checkpoint, .* give the weights\.safetensors"),
    ],
)
def test_what_is_none_is_a_sentence(folder, given, words):
    for name in ("lone.safetensors", "checkpoint-000000003.safetensors"):
        (folder / name).touch()
    with pytest.raises(InputError, match=words) as caught:
        find_weights(given)
    assert "\n" not in str(caught.value)
