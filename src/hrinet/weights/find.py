"""Which file of weights is meant by what a user names; needs no torch."""

from __future__ import annotations

from pathlib import Path

from hrinet.errors import InputError
from hrinet.weights import packaged_weights
from hrinet.weights.description import description_path

RUN_WEIGHTS = "weights.safetensors"
"""What a training leaves in its output folder when it stops."""

_CHECKPOINT = "checkpoint-"


def installed_weights() -> tuple[str, ...]:
    """Names of the methods whose weights the package has here."""
    return tuple(sorted(path.stem for path in packaged_weights("").parent.glob("*.safetensors")))


def find_weights(given: str | Path) -> Path:
    """The file of weights that a path or name stands for, with its description beside it.

    Args:
        given: a ``.safetensors`` file, the output folder of a training, or the name of a method
            whose weights are installed; what exists as a file or folder is that.

    Returns:
        The path of the safetensors file, which is not opened.

    Raises:
        InputError: if there is no such file, or nothing beside it tells what it is.
    """
    path = Path(given)
    if path.is_dir():
        file = path / RUN_WEIGHTS
        if not file.is_file():
            raise _lacks_weights(path)
    elif path.exists():
        require_no_description(path)
        file = path
    elif str(given) in installed_weights():
        return packaged_weights(str(given))
    else:
        names = ", ".join(installed_weights()) or "none"
        raise InputError(
            f"{given}: does not exist; expected a .safetensors file, the output folder of a "
            f"training, or the name of installed weights: {names}"
        )
    description = description_path(file)
    if not description.is_file():
        if file.name.startswith(_CHECKPOINT):
            raise InputError(
                f"{file}: is a checkpoint, of use to 'hrinet train' alone; give the "
                f"{RUN_WEIGHTS} that the training writes when it stops"
            )
        raise InputError(
            f"{file}: has no {description.name} beside it, which tells what the weights are; put "
            "the one that came with them there"
        )
    return file


def require_no_description(path: Path) -> None:
    """Refuse the JSON of weights where their own file is wanted.

    Raises:
        InputError: naming the file to give.
    """
    if path.suffix.lower() == ".json":
        raise InputError(
            f"{path}: is the description of weights; give the weights themselves, "
            f"{path.with_suffix('.safetensors')}"
        )


def _lacks_weights(folder: Path) -> InputError:
    begun = (folder / "log.jsonl").exists() or any(folder.glob(f"{_CHECKPOINT}*"))
    if begun:
        return InputError(
            f"{folder}: holds a training that has written no weights yet, which it does when it "
            "stops; wait for its end, or interrupt it with Ctrl-C and go on later with the same "
            "command"
        )
    return InputError(f"{folder}: holds no {RUN_WEIGHTS}; expected the output folder of a training")
