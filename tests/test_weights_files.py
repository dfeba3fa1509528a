from __future__ import annotations

import hashlib
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import load_file  # noqa: E402

from hrinet.errors import InputError, RequestError  # noqa: E402
from hrinet.weights.files import read_weights, save_weights  # noqa: E402
from weights_tools import save_small  # noqa: E402


def test_float16_halves_the_file_and_rounds_once(tmp_path):
    generator = save_small(tmp_path / "w.safetensors")
    save_small(tmp_path / "h.safetensors", precision="float16")
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in "wh"]
    assert sizes[1] < 0.6 * sizes[0]
    exact, _ = read_weights(tmp_path / "w.safetensors")
    halved, description = read_weights(tmp_path / "h.safetensors")
    assert description.precision == "float16"
    for name, tensor in generator.state_dict().items():
        assert torch.equal(exact[name], tensor)
        assert halved[name].dtype == torch.float32
        assert torch.equal(halved[name], tensor.half().float())
    assert {t.dtype for t in load_file(tmp_path / "h.safetensors").values()} == {torch.float16}


def test_the_hash_in_the_description_is_that_of_the_file(tmp_path):
    save_small(tmp_path / "w.safetensors")
    told = json.loads((tmp_path / "w.json").read_text())
    content = (tmp_path / "w.safetensors").read_bytes()
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    assert told["file"] == "w.safetensors"


@pytest.mark.parametrize(("value", "precision"), [(7e4, "float16"), (float("nan"), "float32")])
def test_what_cannot_be_stored_is_refused_and_nothing_written(tmp_path, value, precision):
    with pytest.raises(RequestError, match="x holds numbers that"):
        save_weights(
            tmp_path / "w.safetensors", {"x": torch.tensor([value])}, {}, precision=precision
        )
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_clear_errors(tmp_path):
    path = tmp_path / "w.safetensors"
    save_small(path)
    content, told = path.read_bytes(), json.loads((tmp_path / "w.json").read_text())
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"has SHA-256 .* but w\.json says .*fetch both again"):
        read_weights(path)
    path.write_bytes(b"no tensors")
    told["sha256"] = hashlib.sha256(b"no tensors").hexdigest()
    (tmp_path / "w.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="is no safetensors file"):
        read_weights(path)
    path.unlink()
    with pytest.raises(InputError, match=r"w\.safetensors: cannot be read: No such file"):
        read_weights(path)


def test_the_description_is_no_file_of_weights(tmp_path):
    save_small(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"w\.json: is the description .*w\.safetensors$"):
        read_weights(tmp_path / "w.json")
