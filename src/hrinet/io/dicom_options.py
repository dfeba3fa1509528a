"""What a user can choose about derived DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hrinet.errors import RequestError

Compression = Literal["rle", "jpegls", "j2k"]
"""Lossless ones: RLE, JPEG-LS, JPEG 2000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomOptions:
    """How a derived series is written.

    Attributes:
        enhanced: one Enhanced CT multi-frame object instead of one CT image a slice.
        compress: lossless compression of the pixels, or None.
        burn_in: draw a mark into synthetic slices.
        like: a series whose patient, study and frame of reference a volume without any (NIfTI,
            NRRD, MetaImage) gets.
    """

    enhanced: bool = False
    compress: Compression | None = None
    burn_in: bool = False
    like: Path | None = None

    @property
    def chosen(self) -> str | None:
        """The first command line option that is not at its default, or None."""
        given = (
            ("--enhanced", self.enhanced),
            ("--compress", self.compress),
            ("--burn-in", self.burn_in),
            ("--like", self.like),
        )
        return next((name for name, value in given if value), None)


def parse_compression(text: str | None) -> Compression | None:
    """One of the names of :data:`Compression`, or None.

    Raises:
        RequestError: if there is no such compression.
    """
    if text is None or text in get_args(Compression):
        return text  # type: ignore[return-value]
    raise RequestError(f"--compress is {text!r}, expected {', '.join(get_args(Compression))}")
