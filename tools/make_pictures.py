"""Draw the pictures of the README and the documentation.

Run: python tools/make_pictures.py
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hrinet.demo.run import run_demo

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        result = run_demo(Path(folder))
        shutil.copyfile(result["preview"], IMAGES / "demo.png")
    print(IMAGES / "demo.png")


if __name__ == "__main__":
    main()
