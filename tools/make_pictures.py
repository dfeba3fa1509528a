"""Draw the pictures of the README and the documentation.

Run: python tools/make_pictures.py (HRINET_TEST_DATA names the folder with the scans)
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from hrinet.demo.run import run_demo
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate_file

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
DATA = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))

CLINICAL = "cases/cptac_C3L-00189"
"""TCIA CPTAC-PDA, CC BY 3.0; hrinet-flow was not trained on it."""

WIDTH, GREYS = 1100, 96
"""In pixels, and of the palette, so that the picture stays small."""


def draw_demo(folder: Path) -> None:
    result = run_demo(folder)
    shutil.copyfile(result["preview"], IMAGES / "demo.png")


def draw_clinical(folder: Path) -> None:
    picture = folder / "preview.png"
    interpolate_file(
        DATA / CLINICAL, Outputs(volume=folder / "filled.nii", preview=picture), Options()
    )
    with Image.open(picture) as image:
        height = round(image.height * WIDTH / image.width)
        small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        small.quantize(GREYS).save(IMAGES / "clinical.png", optimize=True)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        draw_demo(Path(folder) / "demo")
        if (DATA / CLINICAL).is_dir():
            draw_clinical(Path(folder))
        else:
            sys.exit(f"{DATA / CLINICAL} is missing: clinical.png was not drawn")


if __name__ == "__main__":
    main()
