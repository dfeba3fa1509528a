"""Draw the pictures of docs/surface.md from two patients whose licence allows it.

Run: python tools/make_surface_pictures.py (HRINET_TEST_DATA names the folder with the scans)
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

import hrinet
from hrinet.surface.extract import Shaping
from hrinet.surface.run import Options, Outputs, surface_file
from hrinet.surface.structures import parse_structure

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
DATA = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
WIDTH, COLOURS = 900, 64
"""In pixels, and of the palette, so that a picture stays below 300 kB."""

PICTURES = {
    "surface-bone": ("cases/cptac_C3L-00189", "bone", slice(None)),
    "surface-skin": ("train/tcga_AY-4070", "skin", slice(41, 87)),
}


def draw(name: str) -> None:
    folder, structure, part = PICTURES[name]
    scan = hrinet.read(DATA / folder)
    positions = scan.geometry.positions_mm[part].tolist()
    scan = replace(
        scan,
        array=scan.array[part],
        geometry=scan.geometry.at_positions(positions),
        provenance=(),
    )
    with tempfile.TemporaryDirectory() as temporary:
        source, picture = Path(temporary) / "scan.nii", Path(temporary) / "picture.png"
        hrinet.write(scan, source)
        result = surface_file(
            source,
            Outputs(mesh=Path(temporary) / "surface.stl", compare=picture),
            Options(structures=(parse_structure(structure),), shaping=Shaping()),
        )
        print(name, result["unfilled"], result["surfaces"], f"{result['seconds']} s", flush=True)
        with Image.open(picture) as image:
            height = round(image.height * WIDTH / image.width)
            small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
            small.quantize(COLOURS, dither=Image.Dither.NONE).save(
                IMAGES / f"{name}.png", optimize=True
            )
    print(IMAGES / f"{name}.png", (IMAGES / f"{name}.png").stat().st_size)


def main() -> None:
    for name in sys.argv[1:] or PICTURES:
        draw(name)


if __name__ == "__main__":
    main()
