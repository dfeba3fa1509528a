from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from hrinet.errors import InputError, RequestError  # noqa: E402
from hrinet.networks.family import build  # noqa: E402
from hrinet.train import loop  # noqa: E402
from hrinet.train.batches import Batches, kind_of  # noqa: E402
from hrinet.train.checkpoint import checkpoints, load_snapshot, newest_snapshot  # noqa: E402
from hrinet.train.log import read_log  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
from hrinet.train.sampling import PairSampler  # noqa: E402
from train_tools import FAMILY_RECIPES, SIZE, make_cache, tiny, train_elsewhere  # noqa: E402


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("scans"))


def networks_of(snapshot) -> dict:
    """Weights by network."""
    found: dict = {}
    for name, tensor in snapshot.tensors.items():
        kind, network, *rest = name.split("/")
        if kind == "network":
            found.setdefault(network, {})[rest[0]] = tensor
    return found


def networks_after(folder) -> dict:
    """Weights of the newest checkpoint, by network."""
    snapshot = newest_snapshot(folder)
    assert snapshot is not None
    return networks_of(snapshot)


def has_changed(before: dict, after: dict) -> bool:
    assert before.keys() == after.keys()
    return any(not torch.equal(before[name], after[name]) for name in before)


def assert_close(one: dict, other: dict, start: dict) -> None:
    """Equal up to rounding, where training has moved far more than that."""
    assert one.keys() == other.keys()
    for network in one:
        moved = 0.0
        for name, tensor in one[network].items():
            torch.testing.assert_close(other[network][name], tensor, rtol=1e-4, atol=2e-5)
            moved = max(moved, float((tensor - start[network][name]).abs().max()))
        assert moved > 2e-3, network


def weights_at_start(config) -> dict:
    networks = build(config.model(), seed=config.seed)
    found = {"generator": networks.generator, "d1": networks.d1, "d2": networks.d2}
    return {name: network.state_dict() for name, network in found.items() if network is not None}


@pytest.mark.parametrize(
    ("recipe", "stage2"),
    [
        ("hrinet-mse", "2 2 I II 2 2 I II 2 2 I II"),
        ("hrinet-patchgan", "2 2 I 2 2 I 2 2 I 2 2 I 2 2 I 2 2 I"),
        ("acai", "I I I I I I"),
    ],
)
def test_the_order_of_algorithm_1(cache, tmp_path, monkeypatch, recipe, stage2):
    calls = []

    def unsupervised(players, batches, *, with_d2):
        assert len(batches) == 1
        calls.append("I" if with_d2 else "1")

    monkeypatch.setattr(loop, "unsupervised_step", unsupervised)
    monkeypatch.setattr(loop, "d2_step", lambda players, batches: calls.append("2"))
    monkeypatch.setattr(loop, "supervised_step", lambda players, batches: calls.append("II"))
    train(tiny(cache, tmp_path / "run", recipe))
    assert " ".join(calls) == "1 1 1 1 " + stage2


@pytest.mark.parametrize("recipe", FAMILY_RECIPES)
def test_every_recipe_updates_just_the_networks_it_should(cache, tmp_path, recipe):
    config = tiny(cache, tmp_path / "one", recipe, stage1_steps=1, stage2_steps=0)
    before = weights_at_start(config)
    train(config)
    first = networks_after(tmp_path / "one")
    assert (
        first.keys()
        == before.keys()
        == {"generator"} | {name for name in ("d1", "d2") if getattr(config, name)}
    )
    assert has_changed(before["generator"], first["generator"])
    if config.d1:
        assert has_changed(before["d1"], first["d1"])
    if config.d2:  # not in stage 1
        assert not has_changed(before["d2"], first["d2"])

    config = tiny(cache, tmp_path / "two", recipe, stage1_steps=1, stage2_steps=2)
    train(config)
    second = networks_after(tmp_path / "two")
    frozen = second.pop("loss_network", None)
    assert second.keys() == first.keys()
    for name in second:
        assert has_changed(first[name], second[name])
    assert (frozen is not None) == (config.content == "perceptual")
    if frozen is not None:  # the encoder as stage 1 left it
        assert all(torch.equal(value, first["generator"][name]) for name, value in frozen.items())


def test_a_supervised_step_updates_the_generator_alone(cache, tmp_path):
    train(tiny(cache, tmp_path, stage1_steps=1, stage2_steps=2, checkpoint_every=1))
    after, before = (networks_of(load_snapshot(path)) for path in checkpoints(tmp_path))
    assert has_changed(before["generator"], after["generator"])
    assert not has_changed(before["d1"], after["d1"])
    assert not has_changed(before["d2"], after["d2"])


def test_accumulation_changes_nothing_but_rounding(cache, tmp_path):
    runs = {}
    for parts in (1, 2):
        folder = tmp_path / str(parts)
        config = tiny(cache, folder, accumulate=parts, stage1_steps=2, stage2_steps=4)
        train(config)
        runs[parts] = networks_after(folder)
    assert_close(runs[1], runs[2], weights_at_start(config))


def test_two_processes_are_one_with_twice_the_batch(cache, tmp_path):
    config = tiny(cache, tmp_path / "one", stage1_steps=2, stage2_steps=4)
    train(config)
    assert train_elsewhere(replace(config, devices=2, output=str(tmp_path / "two"))) == 0
    assert_close(
        networks_after(tmp_path / "one"),
        networks_after(tmp_path / "two"),
        weights_at_start(config),
    )
    ranks = [(tmp_path / "two" / f"rank-{rank}.txt").read_text() for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    one, two = (read_log(tmp_path / name) for name in ("one", "two"))
    assert [record["step"] for record in one] == [record["step"] for record in two]
    assert two[0]["content"] == pytest.approx(one[0]["content"], rel=1e-4)
    for reason, said in (("missing", "InputError('none.json: "), ("full", "RunError('no space")):
        ends = [(tmp_path / "two" / f"{reason}-{rank}.txt").read_text() for rank in (0, 1)]
        assert ends[0].startswith(said)
        assert ends[1] == "SystemExit(0)"  # without a word


def test_two_processes_killed_and_resumed_end_in_the_same_bits(cache, tmp_path):
    whole = tiny(cache, tmp_path / "whole", devices=2, stage1_steps=2, stage2_steps=4)
    whole = replace(whole, checkpoint_every=2)
    assert train_elsewhere(whole) == 0
    killed = replace(whole, output=str(tmp_path / "killed"))
    assert train_elsewhere(killed, kill_at=5) == -signal.SIGKILL
    assert newest_snapshot(tmp_path / "killed").step == 4
    assert train_elsewhere(killed) == 0
    ours, theirs = (networks_after(tmp_path / name) for name in ("whole", "killed"))
    for network in ours:
        assert not has_changed(ours[network], theirs[network]), network
    weights = [(tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_the_data_of_a_step_do_not_depend_on_the_model(cache, tmp_path):
    first = tiny(cache, tmp_path, "ae-mixing")
    second = tiny(cache, tmp_path, "hrinet-mse")
    for step in (0, 4):
        one, other = (
            Batches(config, cache, rank=0, processes=1).load(step).pairs[0]
            for config in (first, second)
        )
        assert torch.equal(one.first, other.first)
        assert torch.equal(one.a, other.a)


def test_every_draw_is_of_other_samples(cache, tmp_path):
    batches = Batches(tiny(cache, tmp_path), cache, rank=0, processes=1)
    coefficients = []
    for step in (0, 1, 4, 6):
        data = batches.load(step)
        for part in [*data.pairs, *(part for update in data.d2 for part in update)]:
            coefficients += part.a.tolist()
    assert len(coefficients) == 4 * (2 + 2 * 3)
    assert len(set(coefficients)) == len(coefficients)
    assert 0 <= min(coefficients) < 0.2
    assert 0.8 < max(coefficients) < 1


def test_parts_and_processes_share_the_samples_of_one(cache, tmp_path):
    whole = Batches(tiny(cache, tmp_path), cache, rank=0, processes=1).load(4)
    config = replace(tiny(cache, tmp_path), accumulate=2, runs=2)
    shares = [Batches(config, cache, rank=rank, processes=2).load(4) for rank in (0, 1)]
    parts = [part for share in shares for part in share.pairs]
    assert [part.position for part in parts] == [0, 1, 2, 3]
    assert {part.seed for part in parts} == {whole.pairs[0].seed}
    for index in range(3):
        joined = torch.cat([part[index] for part in parts])
        assert torch.equal(joined, whole.pairs[0][index])
    whole_runs = Batches(tiny(cache, tmp_path), cache, rank=0, processes=1).load(5).runs
    runs = [Batches(config, cache, rank=rank, processes=2).load(5).runs for rank in (0, 1)]
    assert torch.equal(torch.cat([run for share in runs for run in share]), whole_runs[0])


def test_training_learns(cache, tmp_path):
    config = tiny(
        *(cache, tmp_path / "run", "hrinet-mse"), width=4, stage1_steps=40, stage2_steps=20
    )
    train(replace(config, log_every=10, checkpoint_every=100))
    records = read_log(tmp_path / "run")
    assert records[3]["content"] < records[0]["content"] / 2
    assert [record["stage"] for record in records] == [1] * 4 + [2] * 2
    assert {"gap", "loss_d2", "supervised", "adversarial"} <= records[-1].keys()
    pairs = PairSampler(cache=cache, batch=4, seed=0).sample(0)
    assert records[0]["spread_of_inputs"] == pytest.approx(pairs.first.std(axis=0).mean(), rel=0.5)


def test_a_signal_ends_the_run_with_a_checkpoint(cache, tmp_path):
    config = replace(tiny(cache, tmp_path / "run"), checkpoint_every=100, log_every=100)
    before = signal.getsignal(signal.SIGTERM)

    def interrupt(done, total, what):
        assert (total, what) == (10, "stage 1" if done <= 4 else "stage 2")
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    result = train(config, progress=interrupt)
    assert (result.step, result.steps, result.signal) == (3, 10, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert newest_snapshot(tmp_path / "run").step == 3
    steps = []
    result = train(config, progress=lambda done, *_: steps.append(done))
    assert (steps, result.signal) == ([4, 5, 6, 7, 8, 9, 10], None)
    assert [record["step"] for record in read_log(tmp_path / "run")] == [3, 4, 10]
    again = train(config)  # nothing left to do
    assert again.step == 10


@pytest.mark.parametrize(
    "changes",
    [{"form": "log"}, {"norm": "instance"}, {"norm": "layer", "folded": False}, {"batch": 1}],
)
def test_the_other_switches_train(cache, tmp_path, changes):
    config = tiny(cache, tmp_path, stage1_steps=1, stage2_steps=2, **changes)
    train(config)
    after = networks_after(tmp_path)
    for name, before in weights_at_start(config).items():
        assert has_changed(before, after[name])
    unsupervised = read_log(tmp_path)[1]  # after that of stage 1
    assert ("gap" in unsupervised) == (config.form == "wgan")
    assert "loss_d2" in unsupervised


def test_bfloat16_computes_the_same_to_its_precision(cache, tmp_path):
    logs = {}
    for precision in ("32-true", "bf16-mixed"):
        folder = tmp_path / precision
        train(tiny(cache, folder, stage1_steps=1, stage2_steps=2, precision=precision))
        logs[precision] = read_log(folder)
        weights = networks_after(folder)["generator"]
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert logs["bf16-mixed"] != logs["32-true"]
    for one, other in zip(*logs.values(), strict=True):
        for name in ("content", "spread", "loss_d1"):
            if name in one:
                assert other[name] == pytest.approx(one[name], rel=0.1)


def test_out_of_time(cache, tmp_path):
    result = train(replace(tiny(cache, tmp_path / "run"), max_minutes=0.0))
    assert (result.step, result.signal) == (1, None)
    assert newest_snapshot(tmp_path / "run").step == 1
    assert result.weights.exists()


def test_strips_show_both_ends_and_what_lies_between(cache, tmp_path):
    train(replace(tiny(cache, tmp_path / "run"), strip_every=5))
    strips = sorted((tmp_path / "run" / "strips").iterdir())
    steps = [f"step-{step:09d}.png" for step in (4, 5, 10)]  # 4 is the end of stage 1
    assert [path.name for path in strips] == steps
    pixels = [np.asarray(Image.open(path)) for path in strips]
    pair = PairSampler(cache=cache, batch=1, seed=0, split="validation", flips=False).sample(0)
    for strip in pixels:
        assert strip.shape == (SIZE, 7 * SIZE)
        for end, image in ((slice(0, SIZE), pair.first), (slice(-SIZE, None), pair.second)):
            hu = image[0, 0] * 4095 - 1024
            expected = np.clip((hu + 1000) / 2000, 0, 1) * 255
            assert np.abs(strip[:, end] - expected).max() <= 0.51
    assert not np.array_equal(pixels[0], pixels[2])


def test_only_what_may_change_changes_when_resuming(cache, tmp_path):
    config = replace(tiny(cache, tmp_path / "run"), max_minutes=0.0)
    train(config)
    with pytest.raises(RequestError, match=r"was trained with learning_rate 0\.001, not 0\.5"):
        train(replace(config, learning_rate=0.5))
    with pytest.raises(RequestError, match="resume is 'never'"):
        train(replace(config, resume="never"))
    (tmp_path / "more").mkdir()
    other = make_cache(tmp_path / "more")
    volumes = tuple(volume for volume in other.volumes if volume.patient != "a")
    assert len(volumes) == 3
    index = other.folder / "index.json"
    content = json.loads(index.read_text())
    content["volumes"] = [volume for volume in content["volumes"] if volume["patient"] != "a"]
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match="was trained on other scans"):
        train(replace(config, cache=str(other.folder)))
    assert train(replace(config, accumulate=2, log_every=1)).step == 2


def test_a_run_made_longer_is_one_that_was_long_from_the_beginning(cache, tmp_path):
    short = tiny(cache, tmp_path / "run")
    longer = replace(short, stage2_steps=short.stage2_steps + 3)
    assert train(replace(short, max_minutes=0.0)).step == 1
    assert train(replace(short, stage2_steps=0)).step == short.first_steps
    assert train(short).step == short.steps
    assert train(longer).step == longer.steps
    train(replace(longer, output=str(tmp_path / "whole")))
    ours, whole = networks_after(tmp_path / "run"), networks_after(tmp_path / "whole")
    assert not any(has_changed(whole[name], ours[name]) for name in whole)
    with pytest.raises(RequestError, match="more than the 10 that stage1_steps"):
        train(short)
    with pytest.raises(RequestError, match="a stage 1 of 4 steps, not 5, and has done 13"):
        train(replace(longer, stage1_steps=5))


def test_stage_1_may_be_made_longer_while_it_lasts(cache, tmp_path):
    config = replace(tiny(cache, tmp_path / "run"), max_minutes=0.0)
    assert train(config).step == 1
    result = train(replace(config, stage1_steps=6, max_minutes=None))
    assert result.step == 6 + config.second_steps


def test_what_does_not_fit_the_cache_or_machine(cache, tmp_path):
    with pytest.raises(RequestError, match="slices of 64 x 64 pixels, but size is 128"):
        train(tiny(cache, tmp_path / "a", size=128))
    with pytest.raises(
        RequestError, match=r"the window \[-1024.0, 3071.0\] HU, but window_hu is \["
    ):
        train(tiny(cache, tmp_path / "a", window_hu=(-160.0, 240.0)))
    with pytest.raises(InputError, match="holds no finished cache"):
        train(replace(tiny(cache, tmp_path / "b"), cache=str(tmp_path)))
    if not torch.cuda.is_available():
        with pytest.raises(RequestError, match="accelerator 'cuda' with 1 devices cannot be had"):
            train(replace(tiny(cache, tmp_path / "c"), accelerator="cuda"))


def test_kinds_of_steps(cache, tmp_path):
    config = tiny(cache, tmp_path)
    kinds = [kind_of(config, step) for step in (3, 4, 5, 6)]
    assert kinds == ["stage1", "unsupervised", "supervised", "unsupervised"]
