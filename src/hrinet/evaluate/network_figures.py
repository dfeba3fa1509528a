"""Figures 4-7 to 4-10: what the generators reconstruct, imagine and learn, and histograms."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.evaluate.candidates import title_of
from hrinet.evaluate.document import Figure
from hrinet.evaluate.figures import missing_words, note_of, strips_of, window_words
from hrinet.evaluate.run import Results, Section
from hrinet.evaluate.scoring import HISTOGRAM_BINS, WIDE_HU
from hrinet.evaluate.statistics import summarize
from hrinet.evaluate.subject import Subject, load_subject
from hrinet.evaluate.tables import series_mean
from hrinet.evaluate.work import load_trained
from hrinet.explore.sheet import FOOTNOTE, Sheet, gray_of_hu
from hrinet.report.drawing import Pixels

_PANEL = (120, 720)
_REFERENCES, _SAMPLES = 24, 6
_SIZE = 256


def reconstruction_figure(results: Results, section: Section, subject: Subject) -> Figure | None:
    """Figure 4-7: real slices, and what encoding and decoding leaves of them."""
    strips = strips_of(results, section, subject)
    if not strips:
        return None
    rows: list[list[Pixels | None]] = [
        [gray_of_hu(s.truth[0]) for s in strips if s.truth is not None]
    ]
    labels = [["original"]]
    for name in strips[0].made:
        rows.append([gray_of_hu(strip.made[name][0]) for strip in strips])
        labels.append([title_of(name)])
    sheet = Sheet(
        title="Real slices, encoded and decoded",
        subtitle=f"{subject.name}; {window_words()}",
        rows=rows,
        row_labels=labels,
        side=220,
        framed={(0, column) for column in range(len(strips))},
        note=note_of(subject),
    )
    return Figure(
        title="Figure 4-7",
        image=sheet.draw(),
        caption="Nothing is interpolated here: what is missing was lost in the bottleneck."
        + missing_words(section),
    )


def samples_figure(section: Section, subject: Subject) -> Figure | None:
    """Figure 4-8: random points of the latent space, decoded; a row a generator."""
    usable = [c for c in section.candidates if c.is_family and not c.missing]
    if not usable:
        return None
    from hrinet.explore.latent import latent_samples
    from hrinet.train import prepare_slice, to_hu

    volume, _ = load_subject(subject.path, subject.series_uid)
    chosen = np.linspace(0, len(volume) - 1, _REFERENCES).round().astype(int)
    rows: list[list[Pixels | None]] = []
    labels = []
    for candidate in usable:
        trained = load_trained(candidate)
        reference = np.stack(
            [
                prepare_slice(
                    volume.array[index],
                    size=_SIZE,
                    window=trained.window_hu,
                    padding_hu=volume.padding_hu,
                )
                for index in chosen
            ]
        )
        samples = latent_samples(trained.network, reference, count=_SAMPLES, seed=0)
        rows.append([gray_of_hu(to_hu(sample, trained.window_hu)) for sample in samples])
        labels.append([title_of(candidate.name)])
    sheet = Sheet(
        title="Random samples of the latent space",
        subtitle=f"normal with mean and covariance of {_REFERENCES} encodings of {subject.name}; "
        "seed 0",
        rows=rows,
        row_labels=labels,
        side=160,
        note=f"No slice of any patient. {FOOTNOTE}",
    )
    return Figure(
        title="Figure 4-8",
        image=sheet.draw(),
        caption="What a generator makes of codes that no slice has; sharp and plausible pictures "
        "would mean that it learned what slices look like." + missing_words(section),
    )


def progress_figure(folder: Path) -> Figure:
    """Figure 4-9: one pair of unrelated slices as training goes on.

    Raises:
        InputError: if the folder is not that of a training with strips.
    """
    from hrinet.explore.strips import draw_progress

    return Figure(
        title="Figure 4-9",
        image=draw_progress(folder).draw(),
        caption="Interpolation between two slices that have nothing to do with each other, from "
        "the first to the last step of the training.",
    )


def histogram_figure(results: Results, section: Section) -> Figure | None:
    """Figure 4-10: the histograms behind Table 4-5."""
    rows: list[list[Pixels | None]] = []
    labels = []
    for candidate in section.candidates:
        found = results.of(section, candidate.name)
        pairs = [(o.histograms.get("made"), o.histograms.get("truth")) for o in found.values()]
        complete = [(made, true) for made, true in pairs if made is not None and true is not None]
        if not complete:
            continue
        made = np.mean([one for one, _ in complete], axis=0)
        true = np.mean([one for _, one in complete], axis=0)
        rows.append([_histogram_tile(made, true)])
        overlap = summarize({n: series_mean(o, "histogram") for n, o in found.items()}).mean
        labels.append([title_of(candidate.name), f"overlap {overlap or 0:.3f}"])
    if not rows:
        return None
    low, high = WIDE_HU
    sheet = Sheet(
        title="Histograms of synthetic slices over those of the true ones",
        subtitle=f"gray area: true slices, white line: method; {low:g} to {high:g} HU from left to "
        "right; height: logarithm of the share of voxels, 0.001 % to 100 %",
        rows=rows,
        row_labels=labels,
        side=_PANEL[0],
        width=_PANEL[1],
    )
    return Figure(
        title="Figure 4-10",
        image=sheet.draw(),
        caption="Where the line lies below the area, the method makes too few voxels of that HU: "
        f"averaging draws values together. {HISTOGRAM_BINS} bins, mean over the series."
        + missing_words(section),
    )


def _histogram_tile(made: NDArray[np.float64], true: NDArray[np.float64]) -> Pixels:
    height, width = _PANEL

    def level(shares: NDArray[np.float64]) -> NDArray[np.float64]:
        at = (np.arange(width) * len(shares)) // width
        fraction = (np.log10(np.maximum(shares[at], 1e-5)) + 5) / 5
        return np.asarray((height - 1) * (1 - fraction))

    tile = np.full((height, width), 18, np.uint8)
    for column, top in enumerate(level(true)):
        tile[round(top) :, column] = 95
    points = np.stack([np.arange(width), level(made)], axis=1)
    scaled = np.rint(points * 16).astype(np.int32)[None]
    cv2.polylines(tile, scaled, False, 255, 1, cv2.LINE_AA, 4)
    return tile
