from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hrinet.losses.acai_loss import (  # noqa: E402
    adversarial_constraint_loss,
    d1_loss,
    fold_alpha,
    regularising_images,
)


def test_folding():
    a = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    assert fold_alpha(a).tolist() == [0.0, 0.25, 0.5, 0.25, 0.0]


def test_regularising_images_by_hand():
    x, reconstruction = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 1.0])
    mixed = regularising_images(x, reconstruction)
    torch.testing.assert_close(mixed, torch.tensor([0.6, 0.8]))  # 0.2 of x, 0.8 of the other
    torch.testing.assert_close(regularising_images(x, reconstruction, gamma=1.0), x)


@pytest.mark.parametrize(("folded", "expected"), [(True, 0.53125), (False, 0.28125)])
def test_d1_loss_by_hand(folded, expected):
    predictions = torch.tensor([0.25, 0.75])
    a = torch.tensor([0.25, 1.0])  # errors 0 and -0.25; folded, a is 0.25 and 0: 0 and 0.75
    regularising = torch.tensor([0.5, -0.5, 0.5, -0.5])  # 0.25 on average
    assert d1_loss(predictions, a, regularising, folded=folded) == expected


def test_adversarial_constraint_by_hand():
    assert adversarial_constraint_loss(torch.tensor([0.5, -1.0])) == 0.625
    assert adversarial_constraint_loss(torch.zeros(3)) == 0


def test_folded_loss_cannot_tell_the_order_of_a_pair():
    predictions, zero = torch.tensor([0.3, 0.1]), torch.zeros(1)
    a = torch.tensor([0.375, 0.125])
    forward, swapped = (d1_loss(predictions, t, zero) for t in (a, 1 - a))
    assert forward == swapped
    assert d1_loss(predictions, a, zero, folded=False) != d1_loss(
        predictions, 1 - a, zero, folded=False
    )


def test_the_ends_agree_with_the_regularising_term():
    # At a = 0 and a = 1 nothing is interpolated, which D1 should say by 0 in both terms.
    assert d1_loss(torch.zeros(2), torch.tensor([0.0, 1.0]), torch.zeros(2)) == 0
