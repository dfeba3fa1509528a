"""Configurations as dataclasses: read from YAML, checked field by field, compared and changed."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hrinet.errors import InputError, RequestError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Config = TypeVar("Config", bound=DataclassInstance)

_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def recipe_names() -> tuple[str, ...]:
    """The recipes of the package."""
    folder = resources.files("hrinet.train") / "recipes"
    names = (Path(item.name) for item in folder.iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix == ".yaml"))


def read_values(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read the plain values of a configuration.

    Args:
        source: a YAML file, or the name of a recipe (see :func:`recipe_names`).
        overrides: ``key=value``, with the value as in YAML; they win over the file.

    Raises:
        InputError: if the file cannot be read, or is no YAML mapping.
        RequestError: if an override is none.
    """
    import yaml

    path = Path(source)
    if not path.is_file() and str(source) in recipe_names():  # a run's folder may have its name
        text = (resources.files("hrinet.train") / "recipes" / f"{source}.yaml").read_text("utf-8")
    else:
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            raise InputError(
                f"{path}: does not exist, nor is it one of the recipes {', '.join(recipe_names())}"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text") from error
    try:
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f" in line {place.line + 1}" if place else ""
        raise InputError(f"{path}: is no YAML{line}; expected lines of 'key: value'") from None
    if not isinstance(loaded, dict | None):
        raise InputError(f"{path}: holds {_shown(loaded)}, expected lines of 'key: value'")
    values: dict[str, Any] = dict(loaded or {})
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise RequestError(f"--set {item!r}: expected key=value, as in learning_rate=0.001")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise RequestError(f"--set {item!r}: the value is no YAML") from None
    return values


def make_config(kind: type[Config], values: Mapping[str, Any], *, subject: str) -> Config:
    """A configuration of plain values.

    Args:
        kind: a dataclass whose constructor refuses values that make no sense.
        values: by field; missing ones get their default.
        subject: whose values, for messages.

    Raises:
        RequestError: if a key is unknown, or a value is of the wrong type or makes no sense.
    """
    hints = get_type_hints(kind)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.0)
            raise RequestError(f"{subject}: there is no field {key!r}; did you mean {near[0]!r}?")
        try:
            checked[key] = _converted(value, hints[key])
        except ValueError:
            raise RequestError(
                f"{subject}: {key} is {_shown(value)}, expected {_described(hints[key])}"
            ) from None
    try:
        return kind(**checked)
    except RequestError as error:
        raise RequestError(f"{subject}: {error}") from None


def changed_fields(before: Config, after: Config, *, may_change: Collection[str]) -> list[str]:
    """Names of the fields that differ and may not, in order."""
    return [
        field.name
        for field in fields(before)
        if field.name not in may_change
        and getattr(before, field.name) != getattr(after, field.name)
    ]


def with_given(config: Config, given: Mapping[str, Path | float | None]) -> Config:
    """The configuration with what the command line names; None keeps a field."""
    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if value is not None
    }
    return replace(config, **values)


def check_limits(
    config: DataclassInstance, *, positive: Collection[str] = (), not_negative: Collection[str] = ()
) -> None:
    """Refuse values that are too small, and numbers that are not finite; None is none.

    Files refuse the latter already (:func:`make_config`), but options of the command line and
    Python do not pass through there, and what a checkpoint holds has to be readable again.

    Args:
        config: whose fields.
        positive: names of those that have to be more than 0.
        not_negative: of those that have to be 0 or more.

    Raises:
        RequestError: naming the field.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise RequestError(f"{field.name} is {value}, expected a finite number")
    for name in positive:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise RequestError(f"{name} is {value}, expected more than 0")
    for name in not_negative:
        value = getattr(config, name)
        if value is not None and not value >= 0:
            raise RequestError(f"{name} is {value}, expected 0 or more")


def check_name(name: str) -> None:
    """Refuse a name that could not be a folder's.

    Raises:
        RequestError: saying what is expected.
    """
    if name in ("", ".", "..") or not set(name) <= _NAME_CHARACTERS:
        raise RequestError(f"name is {name!r}, expected letters, digits, '-', '_' and '.'")


def check_seed(seed: int) -> None:
    """Refuse a seed that does not fit the 64 bits of torch's generators.

    Raises:
        RequestError: saying what is expected.
    """
    if seed >= 2**63:
        raise RequestError(f"seed is {seed}, expected less than 2**63")


def _converted(value: Any, hint: Any) -> Any:
    """``value`` as a field of this type holds it; ValueError if it is of another type."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _converted(value, next(part for part in get_args(hint) if part is not type(None)))
    if origin is Literal:
        for choice in get_args(hint):
            if value == choice and type(value) is type(choice):  # 1 == True
                return choice
        raise ValueError
    if origin is tuple:
        parts = get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            raise ValueError
        return tuple(_converted(item, part) for item, part in zip(value, parts, strict=True))
    if hint is float:
        # YAML 1.1 reads 1e-4 as text, for it lacks a point.
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        try:
            number = float(value)
        except OverflowError:
            raise ValueError from None
        if not math.isfinite(number):
            raise ValueError
        return number
    if type(value) is not hint:
        raise ValueError
    return value


def _described(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(part) for part in get_args(hint))
    if origin is Literal:
        return "one of " + ", ".join(_shown(choice) for choice in get_args(hint))
    if origin is tuple:
        return f"a list of {len(get_args(hint))} numbers"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return words.get(hint, "null")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
