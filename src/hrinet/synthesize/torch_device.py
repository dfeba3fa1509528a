"""The devices of PyTorch."""

from __future__ import annotations

import torch

from hrinet.errors import RequestError


def find_device(name: str) -> torch.device:
    """A device of PyTorch that is really there.

    Args:
        name: "cpu", "cuda" or "mps".

    Raises:
        RequestError: if it is not.
    """
    is_there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not is_there.get(name, False):
        raise RequestError(
            f"device is {name!r}, which PyTorch {torch.__version__} does not find on this machine; "
            "leave --device out, or install a PyTorch that was built for it"
        )
    return torch.device(name)
