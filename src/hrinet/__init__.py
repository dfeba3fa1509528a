"""HRINet: fill the gaps between the slices of a CT scan.

>>> import hrinet
>>> volume = hrinet.read("ct/")
>>> iso = hrinet.interpolate(volume, spacing="iso")
>>> hrinet.write(iso, "iso.nii.gz")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from hrinet.errors import GeometryError as GeometryError
    from hrinet.errors import HrinetError as HrinetError
    from hrinet.errors import InputError as InputError
    from hrinet.errors import LimitError as LimitError
    from hrinet.errors import RequestError as RequestError
    from hrinet.errors import RunError as RunError
    from hrinet.geometry import Geometry as Geometry
    from hrinet.io.dicom_options import DicomOptions as DicomOptions
    from hrinet.io.formats import open_scan as open_scan
    from hrinet.io.formats import read as read
    from hrinet.io.formats import write as write
    from hrinet.io.limits import Limits as Limits
    from hrinet.pipeline import interpolate as interpolate
    from hrinet.pipeline import interpolate_file as interpolate_file
    from hrinet.volume import Provenance as Provenance
    from hrinet.volume import Uncertainty as Uncertainty
    from hrinet.volume import Volume as Volume

# Where each public name lives; resolved on first use, so that `import hrinet` costs nothing.
_HOMES = {
    "DicomOptions": "hrinet.io.dicom_options",
    "Geometry": "hrinet.geometry",
    "GeometryError": "hrinet.errors",
    "HrinetError": "hrinet.errors",
    "InputError": "hrinet.errors",
    "LimitError": "hrinet.errors",
    "Limits": "hrinet.io.limits",
    "Provenance": "hrinet.volume",
    "RequestError": "hrinet.errors",
    "RunError": "hrinet.errors",
    "Uncertainty": "hrinet.volume",
    "Volume": "hrinet.volume",
    "interpolate": "hrinet.pipeline",
    "interpolate_file": "hrinet.pipeline",
    "open_scan": "hrinet.io.formats",
    "read": "hrinet.io.formats",
    "write": "hrinet.io.formats",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'hrinet' has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
