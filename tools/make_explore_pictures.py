"""Draw the pictures and fill the tables of docs/explore.md, from weights that ship.

Run: python tools/make_explore_pictures.py [--run FOLDER ...] (HRINET_TEST_DATA names the folder
with the scans). ``--run`` draws the strips of a training; of several folders, those of stage 1 that
others share first, they are drawn as one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from hrinet.explore.run import Options, explore
from hrinet.report import drawing

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explore.md"
IMAGES = ROOT / "docs" / "images"
SCAN = "validation/lidc_0002"
MODEL, BESIDE = "hrinet-mse", ("acai", "ae")
WIDTH = 1300  # Pixels; files stay small.
MOST_BYTES = 400_000
STEPS = (2, 4, 8)
"""Between two grays of the palette: the first with which a picture is small enough."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", nargs="+", type=Path, metavar="FOLDER", default=())
    arguments = parser.parse_args()
    data = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn"
        beside = tuple(map(Path, BESIDE))
        options = Options(cases=("grid", "samples", "features", "strips"), beside=beside)
        explore(Path(MODEL), data / SCAN, drawn, options)
        if arguments.run:
            run = joined(arguments.run, Path(folder) / arguments.run[-1].resolve().name)
            explore(run, data / SCAN, drawn, Options(cases=("progress",), overwrite=True))
        for path in sorted(drawn.glob("*.png")):
            publish(path, IMAGES / f"explore-{path.name}")
        fill("features", table_of(drawn / "features.md"))
        fill("strips", table_of(drawn / "strips.md"))


def joined(runs: list[Path], folder: Path) -> Path:
    """Strips and logs of runs of which each went on where the one before had ended."""
    (folder / "strips").mkdir(parents=True)
    log = ""
    for run in runs:
        for strip in (run / "strips").glob("*.png"):
            shutil.copy(strip, folder / "strips")
        log += (run / "log.jsonl").read_text("utf-8")
    (folder / "log.jsonl").write_text(log, "utf-8")
    return folder


def publish(drawn: Path, path: Path) -> None:
    """A picture in the size of the page, in as few bytes as it takes."""
    with Image.open(drawn) as image:
        scale = min(1.0, WIDTH / image.width)
        size = (round(image.width * scale), round(image.height * scale))
        shrunk = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    for step in STEPS:
        small = shrunk.quantize(palette=palette(step), dither=Image.Dither.NONE)
        small.save(path, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            print(path, path.stat().st_size // 1000, "kB")
            return
    sys.exit(f"{path}: has {path.stat().st_size} bytes, more than {MOST_BYTES}")


def palette(step: int) -> Image.Image:
    """Grays for the tiles and the few colours around them.

    A palette made of the picture would give rare grays, as of bone, to their nearest frequent one.
    """
    ends = (drawing.BACKGROUND, drawing.TEXT), (drawing.BACKGROUND, drawing.MUTED)
    colours = [drawing.ORIGINAL, *((gray,) * 3 for gray in range(0, 256, step))]
    for start, end in ends:  # smooth letters
        for share in range(0, 33):
            pairs = zip(start, end, strict=True)
            colours.append(tuple(round(a + (b - a) * share / 32) for a, b in pairs))
    image = Image.new("P", (1, 1))
    image.putpalette([value for colour in colours for value in colour])
    return image


def table_of(markdown: Path) -> str:
    """The table of a file that ``hrinet explore`` wrote, with the line that tells what of."""
    _, subtitle, table = markdown.read_text("utf-8").strip().split("\n\n", 2)
    return f"{subtitle}:\n\n{table}"


def fill(name: str, text: str) -> None:
    """Put a text between the two marks of the page that have its name."""
    page = PAGE.read_text("utf-8")
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{marks[0]}.*?{marks[1]}", re.DOTALL)
    filled, count = pattern.subn(lambda _: f"{marks[0]}\n{text}\n{marks[1]}", page)
    if count != 1:
        sys.exit(f"{PAGE}: has {count} places for {name!r}, expected one")
    PAGE.write_text(filled, "utf-8")


if __name__ == "__main__":
    main()
