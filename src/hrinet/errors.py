"""The errors that HRINet raises, all derived from :class:`HrinetError`.

Every message is one sentence (or two) that says which file, tag or field is meant, what was
found, what was expected, and what to do. ``exit_code`` is what the command line returns.
"""

from __future__ import annotations


class HrinetError(Exception):
    """Base of every error that HRINet raises on purpose.

    Attributes:
        exit_code: 2 where the input or the arguments are wrong, 1 where the work failed half-way
            through no fault of the input.
    """

    exit_code = 2


class InputError(HrinetError):
    """The input cannot be read as a CT volume."""


class LimitError(InputError):
    """The input declares more data than the configured limits allow."""


class GeometryError(InputError):
    """The positions, orientation or spacing are contradictory or cannot be represented."""


class RequestError(HrinetError):
    """The arguments contradict each other, the input, or the output format."""


class RunError(HrinetError):
    """The work failed half-way (disk full, engine failure); nothing partial is left behind."""

    exit_code = 1


class RangeExceededError(HrinetError):
    """A slice holds values outside int16, so that the volume has to be read as float32.

    Readers decide on int16 from the header alone. A header may allow more than int16 holds while
    the pixels rarely use it; the rare slice that does raises this, and the caller starts again
    with :meth:`hrinet.volume.SliceSource.widened`.
    """
