"""What the tests of measures share: degraded images, and a real scan that is read once."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

import hrinet
from real_data import ct


def real_scan() -> hrinet.Volume:
    """A chest of the validation patients, slices every 2.5 mm; skips the test where it is not."""
    return _read(str(ct("validation/lidc_0002")))


@cache
def _read(path: str) -> hrinet.Volume:
    return hrinet.read(path)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur, sigma in pixels."""
    return cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), sigma)


def noisy(image: np.ndarray, sd: float, seed: int = 0) -> np.ndarray:
    """White noise on top."""
    noise = np.random.default_rng(seed).normal(0, sd, image.shape)
    return (np.asarray(image, np.float32) + noise).astype(np.float32)


def blocked(image: np.ndarray, step: float) -> np.ndarray:
    """Coefficients of 8 x 8 blocks rounded to multiples of a step, as JPEG does."""
    rows, columns = (side // 8 for side in image.shape)
    k = np.arange(8)
    basis = np.cos(np.pi * np.outer(k, 2 * k + 1) / 16) / 2
    basis[0] /= np.sqrt(2)
    blocks = np.asarray(image, np.float64).reshape(rows, 8, columns, 8).swapaxes(1, 2)
    coefficients = np.round(basis @ blocks @ basis.T / step) * step
    restored = basis.T @ coefficients @ basis
    return restored.swapaxes(1, 2).reshape(image.shape).astype(np.float32)
