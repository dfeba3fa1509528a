"""How much an input may declare before anything is decoded, inflated or allocated."""

from __future__ import annotations

from dataclasses import dataclass

from hrinet.errors import LimitError

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on untrusted input; the defaults admit any CT that a scanner makes.

    Attributes:
        max_slice_voxels: voxels of one slice.
        max_slices: slices of one volume.
        max_memory_bytes: size of a volume that :func:`hrinet.read` loads whole. Streaming commands
            never hold a whole volume and are not bound by it.
        max_files: files looked at in a folder, or entries of a zip.
        max_inflated_bytes: what one compressed DICOM file or zip entry may inflate to.
        max_streamed_bytes: what the voxels of one compressed NIfTI, NRRD or MetaImage file may
            inflate to; they are inflated a slice at a time.
        max_inflation_ratio: inflated over compressed size of a zip entry or a deflated DICOM file.
            CT deflates to a half or a third; only empty images reach a few hundred.
        max_header_bytes: size of a text header (NRRD, MetaImage).
    """

    max_slice_voxels: int = 16384 * 16384
    max_slices: int = 50_000
    max_memory_bytes: int = 16 * GIB
    max_files: int = 200_000
    max_inflated_bytes: int = 4 * GIB
    max_streamed_bytes: int = 32 * GIB
    max_inflation_ratio: float = 500.0
    max_header_bytes: int = MIB

    def check_shape(self, subject: str, shape: tuple[int, int, int]) -> None:
        """Refuse absurd dimensions.

        Args:
            subject: the file, for the message.
            shape: (slices, rows, columns) as declared.

        Raises:
            LimitError: if a dimension is not positive or beyond the limits.
        """
        slices, rows, columns = shape
        if min(shape) < 1:
            raise LimitError(
                f"{subject}: declares {columns} x {rows} x {slices} voxels, expected at least one "
                "in each direction; export the file again"
            )
        if rows * columns > self.max_slice_voxels or slices > self.max_slices:
            raise LimitError(
                f"{subject}: declares {columns} x {rows} x {slices} voxels, more than the limit of "
                f"{self.max_slice_voxels} a slice and {self.max_slices} slices; if the file is "
                "sound, raise the limits with hrinet.Limits"
            )

    def check_memory(self, subject: str, byte_count: int) -> None:
        """Refuse to load a volume whole that does not fit.

        Raises:
            LimitError: if ``byte_count`` exceeds ``max_memory_bytes``.
        """
        if byte_count > self.max_memory_bytes:
            raise LimitError(
                f"{subject}: needs {byte_count / GIB:.1f} GiB of memory, the limit is "
                f"{self.max_memory_bytes / GIB:.1f} GiB; `hrinet interpolate` streams instead"
            )


DEFAULT_LIMITS = Limits()
