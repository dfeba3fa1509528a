from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.networks.padding import crop_to, pad_to_multiple  # noqa: E402


def test_edges_are_repeated_the_larger_half_below_and_right():
    image = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to_multiple(image, 5)
    assert padded[0, 0].tolist() == [
        [0, 0, 1, 2, 2],
        [0, 0, 1, 2, 2],
        [3, 3, 4, 5, 5],
        [3, 3, 4, 5, 5],
        [3, 3, 4, 5, 5],
    ]


@pytest.mark.parametrize(("rows", "columns"), [(500, 500), (1, 63), (65, 64)])
def test_crop_undoes_padding(rows, columns):
    image = torch.rand(1, 1, rows, columns, generator=torch.Generator().manual_seed(0))
    padded = pad_to_multiple(image, 64)
    assert all(
        side % 64 == 0 and side - 64 < own
        for side, own in zip(padded.shape[-2:], (rows, columns), strict=True)
    )
    assert torch.equal(crop_to(padded, rows, columns), image)


def test_multiples_are_left_alone():
    image = torch.zeros(1, 1, 128, 64)
    assert pad_to_multiple(image, 64) is image


def test_crop_refuses_to_enlarge():
    with pytest.raises(RequestError, match="Cannot crop 4 x 4"):
        crop_to(torch.zeros(1, 1, 4, 4), 5, 4)
