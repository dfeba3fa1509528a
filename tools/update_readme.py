"""Put the measured quality into the README, between its two markers.

Run: python tools/update_readme.py (after python benchmarks/quality.py)
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEST_SERIES = {
    "test/lidc_0001": "chest, 2.5 mm slices",
    "test/aapm_L291": "abdomen, sharp kernel, 3 mm slices every 2 mm",
}
START, END = "<!-- quality -->", "<!-- /quality -->"


def quality_table() -> str:
    """PSNR of every method on the test patients, as Markdown."""
    found = json.loads((ROOT / "benchmarks/results/quality.json").read_text("utf-8"))
    lines = [
        "| patient, factor (gap) | linear | cubic | flow | hrinet-flow |",
        "|---|--:|--:|--:|--:|",
    ]
    for series, words in TEST_SERIES.items():
        for case, scores in found[series].items():
            cells = [f"{scores[m][0]:.2f}" for m in ("linear", "cubic", "flow")]
            gain = scores["hrinet-flow"][0] - scores["cubic"][0]
            cells.append(f"**{scores['hrinet-flow'][0]:.2f}** ({gain:+.2f})")
            lines.append(f"| {words}, {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text("utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{START}\n{quality_table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
