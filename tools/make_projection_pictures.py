"""Draw the pictures of docs/project.md from two patients of public collections.

Run: python tools/make_projection_pictures.py (with HRINET_TEST_DATA at the folder of the scans)
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

from hrinet.project.options import Options
from hrinet.project.run import project_file
from hrinet.project.views import View
from hrinet.project.weights import parse_weight

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"

TCGA = "train/tcga_AY-4070"
WIDTH = 1300  # Pixels; files stay small.
CPTAC = "cases/cptac_C3L-00189"

PICTURES: dict[str, tuple[str, Options]] = {
    "project-angles": (
        TCGA,
        Options(views=tuple(View.turned(a) for a in (0, 45, 90, 135)), mode="attenuation"),
    ),
    "project-fill": (CPTAC, Options(views=(View.turned(90),), compare=True, mode="attenuation")),
    "project-weights": (
        TCGA,
        Options(
            views=(View.turned(90),),
            weights=tuple(
                parse_weight(text)
                for text in ("1/k", "k", "gaussian:0.25,0.0909", "gaussian:0.5,0.0909")
            ),
        ),
    ),
    "project-maximum": (
        TCGA,
        Options(views=(View.turned(0), View.turned(30, -20), View.turned(0, 90)), mode="maximum"),
    ),
}


def main() -> None:
    data = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
    IMAGES.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or list(PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            scan, options = PICTURES[name]
            drawn = Path(folder) / f"{name}.png"
            project_file(data / scan, [drawn], options)
            with Image.open(drawn) as image:
                scale = min(1.0, WIDTH / image.width)
                size = (round(image.width * scale), round(image.height * scale))
                shrunk = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
                # All greys and the few colours fit into a palette, which halves the file.
                small = shrunk.quantize(256, dither=Image.Dither.NONE)
                dpi = tuple(value * scale for value in image.info["dpi"])
                small.save(IMAGES / f"{name}.png", optimize=True, dpi=dpi)
            print(IMAGES / f"{name}.png", (IMAGES / f"{name}.png").stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
