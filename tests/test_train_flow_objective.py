from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
skimage = pytest.importorskip("skimage.metrics")

from hrinet.metrics.ssim import ssim_map  # noqa: E402
from hrinet.networks.flow_net import Prediction  # noqa: E402
from hrinet.train.flow.objective import compressed, mean_ssim, objective  # noqa: E402


def images(count=3, *, side=48, noise=40.0):
    """Smooth anatomy and the same with noise, shape (count, 1, side, side), HU."""
    random = torch.Generator().manual_seed(0)
    small = torch.randn(count, 1, side // 8, side // 8, generator=random)
    truth = 200 * torch.nn.functional.interpolate(small, size=(side, side), mode="bicubic")
    return truth + noise * torch.randn(truth.shape, generator=random), truth


def loss_of(values, truth, *, log_error=2.5, blend=None, similarity=15.0, motion=1.0):
    prediction = Prediction(
        values, torch.full_like(values, log_error), values if blend is None else blend
    )
    linear = truth + 50
    return objective(prediction, truth, linear, similarity=similarity, motion=motion)


def test_a_predicted_error_beyond_reason_is_pulled_back():
    noisy, truth = images()
    log_error = torch.full_like(truth, 12.0, requires_grad=True)
    prediction = Prediction(noisy, log_error, noisy)
    loss, _ = objective(prediction, truth, truth + 50, similarity=15.0, motion=1.0)
    (gradient,) = torch.autograd.grad(loss, log_error)
    # Of the logarithm alone: 0.1 of the mean over all voxels.
    torch.testing.assert_close(gradient, torch.full_like(gradient, 0.1 / truth.numel()))


def test_beyond_1000_hu_distances_are_a_quarter():
    values = torch.tensor([-3000.0, -1000.0, -500.0, 0.0, 999.0, 1000.0, 1400.0, 3000.0])
    expected = torch.tensor([-1500.0, -1000.0, -500.0, 0.0, 999.0, 1000.0, 1100.0, 1500.0])
    torch.testing.assert_close(compressed(values), expected)


@pytest.mark.parametrize("level", [0.0, 900.0])
def test_similarity_is_that_of_the_others(level):
    noisy, truth = images()
    found = mean_ssim(noisy + level, truth + level).numpy()
    for index in range(3):
        one, other = (x[index, 0].double().numpy() + level for x in (noisy, truth))
        ours = ssim_map(one, other, data_range=2000.0)
        theirs = skimage.structural_similarity(
            one,
            other,
            data_range=2000.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1]
        inside = (slice(5, -5), slice(5, -5))
        assert found[index] == pytest.approx(theirs[inside].mean(), abs=1e-4)
        of_ours = ours if ours.shape == (38, 38) else ours[inside]
        assert found[index] == pytest.approx(of_ours.mean(), abs=1e-4)


def test_what_is_alike_is_wholly_similar():
    _, truth = images()
    torch.testing.assert_close(mean_ssim(truth, truth), torch.ones(3))


def test_the_loss_falls_on_the_way_to_the_target():
    noisy, truth = images()
    losses = [
        float(loss_of(truth + share * (noisy - truth), truth)[0]) for share in (1.0, 0.6, 0.3, 0.0)
    ]
    assert np.all(np.diff(losses) < -0.05)


def test_its_parts_are_what_they_say():
    _, truth = images()
    loss, figures = loss_of(truth + 30, truth, log_error=3.0)
    assert truth.abs().max() < 970  # nothing of it is compressed
    error = 30.0**2 + 100.0
    assert float(figures["decibels"]) == pytest.approx(10 * np.log10(error), abs=1e-3)
    gain = 10 * np.log10((2500 + 100) / error)
    assert float(figures["gain_over_linear_db"]) == pytest.approx(gain, abs=1e-3)
    assert float(figures["motion"]) == pytest.approx(30 / 55, abs=1e-4)
    doubt = 30 * np.exp(-3) + 3
    assert float(figures["doubt"]) == pytest.approx(doubt, abs=1e-4)
    dissimilarity = 1 - float(mean_ssim(truth + 30, truth).mean())
    total = 10 * np.log10(error) + np.sqrt(error) / 10 + 15 * dissimilarity + 30 / 55 + doubt
    assert float(loss) == pytest.approx(0.1 * total, abs=1e-3)


def test_weights_weigh():
    noisy, truth = images()
    blend = truth + 80
    plain, figures = loss_of(noisy, truth, blend=blend, similarity=0.0, motion=0.0)
    weighed, _ = loss_of(noisy, truth, blend=blend, similarity=10.0, motion=2.0)
    extra = 0.1 * (10 * figures["dissimilarity"] + 2 * figures["motion"])
    torch.testing.assert_close(weighed - plain, extra, rtol=1e-4, atol=1e-5)


def test_the_best_estimate_of_the_error_is_the_error():
    _, truth = images()
    doubts = {
        e: float(loss_of(truth + 20, truth, log_error=e)[1]["doubt"]) for e in (2.0, 2.9957, 4.0)
    }
    assert min(doubts, key=lambda e: doubts[e]) == 2.9957


def test_the_estimate_is_taught_by_the_error_and_not_the_other_way_round():
    _, truth = images()
    values = (truth + 20).requires_grad_(True)
    log_error = torch.full_like(truth, 2.5, requires_grad=True)
    _, figures = objective(
        Prediction(values, log_error, values.detach()), truth, truth, similarity=0.0, motion=0.0
    )
    figures["doubt"].backward()
    assert values.grad is None
    assert torch.all(log_error.grad < 0)  # 20 HU are more than exp(2.5)
