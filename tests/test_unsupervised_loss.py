from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hrinet.losses.unsupervised_loss import unsupervised_loss  # noqa: E402
from hrinet.losses.weights import LossWeights  # noqa: E402

TWO, THREE, FOUR = torch.tensor(2.0), torch.tensor(3.0), torch.tensor(4.0)


def test_equation_3_4_by_hand():
    weights = LossWeights(lambda_=0.5, beta=0.25)
    loss = unsupervised_loss(TWO, constraint=THREE, adversarial=FOUR, weights=weights)
    assert loss == 2 + 0.5 * 3 + 0.25 * 4


def test_terms_of_absent_critics_fall_out():
    weights = LossWeights(lambda_=0.5, beta=0.25)
    assert unsupervised_loss(TWO, weights=weights) == 2
    assert unsupervised_loss(TWO, constraint=THREE, weights=weights) == 3.5
    assert unsupervised_loss(TWO, adversarial=FOUR, weights=weights) == 3


def test_weights_of_the_thesis():
    weights = LossWeights()
    assert (weights.lambda_, weights.epsilon, weights.gamma, weights.penalty) == (
        0.5, 2e-5, 0.2, 10,
    )  # fmt: skip
    assert weights == LossWeights.for_size(256)
    betas = [LossWeights.for_size(size).beta for size in (64, 256, 320, 512)]
    assert betas == [5e-4, 5e-4, 5e-3, 5e-3]
