"""A look at the installation and the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping
from typing import Any

import hrinet
from hrinet.synthesize.engine import default_threads

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "openvino",
    "pydicom",
    "pyjpegls",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "python-gdcm",
    "nibabel",
    "pynrrd",
    "isal",
    "pillow",
    "typer",
    "rich",
)
"""What the default installation consists of, by the names of the distributions."""

_SYNTAXES = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG extended": "1.2.840.10008.1.2.4.51",
    "JPEG lossless": "1.2.840.10008.1.2.4.57",
    "JPEG lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG-LS near-lossless": "1.2.840.10008.1.2.4.81",
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
    "JPEG 2000": "1.2.840.10008.1.2.4.91",
    "HTJ2K lossless": "1.2.840.10008.1.2.4.201",
}


def examine() -> dict[str, Any]:
    """Versions, decoders, cores, memory, methods, and seconds a slice of those installed.

    Returns:
        A JSON object; ``methods`` tells what each of them lacks, ``healthy`` is False if a package,
        decoder or method of the default installation is missing.
    """
    from hrinet.synthesize.registry import METHODS

    packages = {name: _version(name) for name in _PACKAGES}
    decoders = _decoders()
    return {
        "hrinet": hrinet.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": default_threads(),
        "memory_gb": _memory_gb(),
        "packages": packages,
        "decoders": decoders,
        "methods": {method.name: method.missing for method in METHODS},
        "seconds_a_slice": _speed(),
        "healthy": all(packages.values())
        and all(decoders.values())
        # A package may be there by name and lack its module.
        and not any(method.missing for method in METHODS if not method.extra),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _decoders() -> dict[str, bool]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    available = {}
    for name, uid in _SYNTAXES.items():
        try:
            available[name] = bool(get_decoder(UID(uid)).is_available)
        except NotImplementedError:
            available[name] = False
    return available


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _speed() -> dict[str, float]:
    """Time a small x4 job at 512 x 512 with every installed method, about five seconds in all.

    A network takes a second or two more, mostly to load PyTorch.
    """
    import numpy as np

    from hrinet.geometry import Geometry
    from hrinet.pipeline import interpolate
    from hrinet.synthesize.registry import installed_methods
    from hrinet.volume import Volume

    generator = np.random.default_rng(0)
    coarse = generator.normal(0, 300, (4, 32, 32)).repeat(16, axis=1).repeat(16, axis=2)

    def volume_of(slices: int) -> Volume:
        geometry = Geometry(
            origins=np.array([[0.0, 0.0, 5.0 * k] for k in range(slices)]),
            row_direction=np.array([1.0, 0.0, 0.0]),
            column_direction=np.array([0.0, 1.0, 0.0]),
            pixel_spacing=(1.0, 1.0),
            rows=512,
            columns=512,
            slice_thickness=5.0,
        )
        return Volume(array=coarse[:slices].astype(np.int16), geometry=geometry)

    seconds = {}
    for method in installed_methods():
        volume = volume_of(4 if method.kind == "classical" else 3)
        interpolate(volume, factor=2, method=method.name)
        started = time.perf_counter()
        result = interpolate(volume, factor=4, method=method.name)
        synthetic = len(result) - len(volume)
        seconds[method.name] = round((time.perf_counter() - started) / synthetic, 5)
    return seconds


def describe_checkup(checkup: Mapping[str, Any]) -> str:
    """The result of :func:`examine` in plain words."""
    memory, methods = checkup["memory_gb"], checkup["methods"]
    lines = [
        f"hrinet {checkup['hrinet']}, Python {checkup['python']}, {checkup['platform']}",
        f"{checkup['cores']} cores" + (f", {memory} GB of memory" if memory else ""),
        "",
        "packages     "
        + ", ".join(
            f"{name} {version or 'MISSING'}" for name, version in checkup["packages"].items()
        ),
        "DICOM        "
        + ", ".join(
            name if available else f"{name} MISSING"
            for name, available in checkup["decoders"].items()
        ),
        "methods      " + ", ".join(name for name, lacks in methods.items() if not lacks),
    ]
    lacking = {lacks: [n for n in methods if methods[n] == lacks] for lacks in methods.values()}
    lines += [
        f"             not installed: {', '.join(names)} ({lacks})"
        for lacks, names in lacking.items()
        if lacks
    ]
    lines += [
        "",
        "speed of one synthetic 512 x 512 slice, all cores, 4 to a gap:",
    ]
    lines += [f"  {name:<18} {s * 1000:7.1f} ms" for name, s in checkup["seconds_a_slice"].items()]
    lines += [
        "",
        "All is well." if checkup["healthy"] else "Something is MISSING: reinstall hrinet.",
    ]
    return "\n".join(lines)
