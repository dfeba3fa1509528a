"""Put the weights of a finished training run into the package.

    python tools/ship_weights.py RUN_FOLDER [--licence Apache-2.0]

RUN_FOLDER holds ``weights.safetensors`` and ``weights.json`` as ``hrinet train`` leaves them. The
package gets ``<name>.safetensors`` with the numbers as float16, ``<name>.json`` and the model card
``<name>.md``, made from the JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hrinet.errors import RequestError
from hrinet.networks.family import FAMILY
from hrinet.train.config import MAY_CHANGE, TrainConfig, config_of, load_config
from hrinet.train.fields import changed_fields
from hrinet.weights import packaged_weights
from hrinet.weights.description import Description, count_parameters, read_description
from hrinet.weights.files import read_weights, save_weights
from hrinet.weights.generator import load_generator

TRAININGS = {
    "ae": "An autoencoder; feature maps are mixed at one size, N/16.",
    "acai": "The autoencoder `ae`, trained against critic D1, which guesses the mixture.",
    "hrinet-patchgan": "Feature maps are mixed at three sizes, N/16, N/32 and N/64; trained "
    "against critic D1 and, in stage 2, the PatchGAN D2, on unrelated slices only.",
    "hrinet-mse": "Feature maps are mixed at three sizes, N/16, N/32 and N/64; trained against "
    "critic D1 and, in stage 2, the PatchGAN D2, on unrelated slices and runs of consecutive "
    "slices in turn.",
    "hrinet-perceptual": "As `hrinet-mse`, with the content loss of stage 2 measured between "
    "features of the stage 1 encoder.",
}


def ship(run: Path, target: Path, *, licence: str) -> list[Path]:
    """Write the three files.

    Args:
        run: folder of the run.
        target: where the safetensors file goes; the others lie beside it.
        licence: of the weights.

    Returns:
        The files written.
    """
    tensors, description = read_weights(run / "weights.safetensors")
    if description.name not in FAMILY:
        raise RequestError(f"{run}: made weights of {description.name!r}, which is no method")
    told = {
        **description.values,
        "licence": licence,
        "trained_sha256": description.sha256,
    }
    save_weights(target, tensors, told, precision="float16")
    load_generator(target)  # What does not load is not shipped unnoticed.
    card = target.with_suffix(".md")
    card.write_text(model_card(read_description(target), target), "utf-8")
    return [target, target.with_suffix(".json"), card]


def model_card(description: Description, weights: Path) -> str:
    """What a user has to know about a set of weights, in Markdown."""
    values = description.values
    config = config_of(dict(values["config"]), subject=description.name)
    recipe = load_config(config.name)
    first = min(description.steps, config.first_steps)
    second = description.steps - first
    low, high = values["window_hu"]
    collections = [f"| {c.collection} | {c.licence} | {c.scans} |" for c in description.collections]
    return "\n".join(
        [
            f"# {description.name}",
            "",
            TRAININGS[description.name],
            "",
            "| | |",
            "|---|---|",
            f"| parameters | {count_parameters(weights)} |",
            f"| stored as | {description.precision}, computed with as float32 |",
            f"| window | {low:g} to {high:g} HU become 0 to 1 |",
            f"| training size | {values['size']} x {values['size']} pixels |",
            f"| steps of stage 1 | {first} of {config.first_steps}; {recipe.first_steps} in the "
            "recipe |",
            f"| steps of stage 2 | {second} of {config.second_steps}; {recipe.second_steps} in the "
            "recipe |",
            *_average(values.get("averaged"), config.average),
            *_beginning(values.get("started_from")),
            f"| other than in the recipe | {_other_settings(config)} |",
            f"| seed | {values['seed']} |",
            f"| trained on | {description.scans} scans of {description.patients} patients |",
            f"| SHA-256 | `{description.sha256}` |",
            f"| licence | {description.licence} |",
            "",
            "## Training data",
            "",
            *(
                ["| collection | licence | scans |", "|---|---|--:|", *collections]
                if collections
                else ["The run had no manifest, so that collections and licences are not known."]
            ),
            "",
            "## Intended use",
            "",
            "Comparing the networks of the family with each other and with classical "
            "interpolation, and making slices between those of a CT scan for research and display.",
            "",
            "## Limits",
            "",
            "* Fine detail does not pass the small feature maps: slices look smoother than "
            "measured ones. `auto` never chooses this method.",
            "* It sees the two neighbouring slices only, and knows neither their distance nor "
            "their thickness.",
            f"* Where a neighbour goes beyond {low:g} or {high:g} HU, and where the "
            "output saturates, the result is that of `cubic`.",
            "* Trained on the collections above; other anatomy, contrast phases, kernels, doses "
            "and modalities were not tested.",
            "* It may draw structures that are not there and miss some that are.",
            "",
            "Not a medical device; not for diagnosis.",
            "",
        ]
    )


def _average(averaged: int | None, factor: float) -> list[str]:
    """Row of the table on what the numbers are; None in descriptions that do not tell."""
    if averaged is None:
        return []
    if not averaged:
        return ["| weights | the last step's |"]
    return [f"| weights | moving average ({factor:g}) of the last {averaged} steps |"]


def _beginning(started: dict[str, Any] | None) -> list[str]:
    """Rows of the table on what the run began with."""
    if not started:
        return []
    return [
        f"| began with | `{started['name']}` after {started['steps']} steps of "
        f"{started['batch']} pairs (SHA-256 `{started['sha256'][:16]}`) |"
    ]


def _other_settings(config: TrainConfig) -> str:
    """What decides on the training and differs from the recipe of its name."""
    names = changed_fields(
        load_config(config.name), config, may_change=(MAY_CHANGE | {"strip_every"}) - {"average"}
    )
    return ", ".join(f"{name} {getattr(config, name)}" for name in names) or "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--licence", default="Apache-2.0", help="of the weights")
    arguments = parser.parse_args()
    name = read_description(arguments.run / "weights.safetensors").name
    for path in ship(arguments.run, packaged_weights(name), licence=arguments.licence):
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")


if __name__ == "__main__":
    main()
