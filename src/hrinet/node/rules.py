"""Which series are worked on: rules in TOML, read once, first match wins."""

from __future__ import annotations

import fnmatch
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from hrinet.errors import InputError, RequestError
from hrinet.plan.plan import MAX_INTERVALS
from hrinet.plan.spacing import parse_spacing
from hrinet.synthesize.registry import find_method

Action = Literal["interpolate", "forward", "ignore"]

_TOLERANCE_MM = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a series must be, and what is done with it then.

    A condition that is left out holds for every series; one on a number does not hold where the
    series does not state it.

    Attributes:
        name: for log and listing.
        action: ``interpolate`` fills the gaps and sends the derived series; ``forward`` sends
            the series on as it is; ``ignore`` keeps it here.
        modality: values of (0008,0060).
        calling: AE titles that sent it.
        description: patterns for Series Description, ``*`` and ``?``, case ignored.
        not_description: patterns that must not match.
        image_type: values that Image Type must have.
        not_image_type: values that Image Type must not have.
        min_spacing_mm: least distance between slices (median), inclusive.
        min_thickness_mm: least slice thickness (median), inclusive.
        min_instances: fewest objects.
        instances: the number of objects with which it is complete, without waiting.
        quiet_s: how long no object may come before it is complete.
        method: of interpolation.
        spacing: ``iso`` or mm between output slices.
        factor: divide every gap into so many instead.
    """

    name: str
    action: Action = "interpolate"
    modality: tuple[str, ...] = ()
    calling: tuple[str, ...] = ()
    description: tuple[str, ...] = ()
    not_description: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    not_image_type: tuple[str, ...] = ()
    min_spacing_mm: float | None = None
    min_thickness_mm: float | None = None
    min_instances: int = 1
    instances: int | None = None
    quiet_s: float | None = None
    method: str = "auto"
    spacing: str = "iso"
    factor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What rules look at.

    Attributes:
        modality: upper case.
        calling: AE title.
        description: Series Description.
        image_type: values joined by backslashes, upper case.
        instances: number of objects.
        spacing_mm: median distance between neighbouring slices, or None.
        thickness_mm: median, or None.
    """

    modality: str
    calling: str
    description: str
    image_type: str
    instances: int
    spacing_mm: float | None
    thickness_mm: float | None


DEFAULT_RULES = (
    Rule(
        name="thick CT",
        modality=("CT",),
        not_image_type=("LOCALIZER", "SECONDARY"),
        min_spacing_mm=2.0,
        min_instances=3,
    ),
)
"""Without a file: CT of 2 mm and more between slices, no scouts, nothing that is derived."""


def spacing_of(positions_mm: Sequence[float]) -> float | None:
    """Median distance between neighbouring slices, mm; None for fewer than two positions."""
    steps = np.diff(np.unique(np.round(np.asarray(positions_mm, dtype=float), 3)))
    return float(np.median(steps)) if steps.size else None


def mismatch(rule: Rule, facts: Facts) -> str | None:
    """Why a rule does not take a series, in words without identifiers; None if it does."""
    checks = (
        (not rule.modality or facts.modality in rule.modality, "modality"),
        (not rule.calling or facts.calling in rule.calling, "AE title"),
        (not rule.description or _matches(facts.description, rule.description), "description"),
        (not _matches(facts.description, rule.not_description), "description is excluded"),
        (set(rule.image_type) <= _values(facts), "image type"),
        (not set(rule.not_image_type) & _values(facts), "image type is excluded"),
        (_reaches(facts.spacing_mm, rule.min_spacing_mm), "slices too near, or no positions"),
        (_reaches(facts.thickness_mm, rule.min_thickness_mm), "slices too thin, or not stated"),
        (facts.instances >= rule.min_instances, "too few objects"),
    )
    return next((reason for is_met, reason in checks if not is_met), None)


def choose(rules: Sequence[Rule], facts: Facts) -> tuple[Rule | None, str]:
    """The first rule that takes a series.

    Returns:
        The rule, or None; and why none does, or nothing.
    """
    reasons = []
    for rule in rules:
        reason = mismatch(rule, facts)
        if reason is None:
            return rule, ""
        reasons.append(f"{rule.name}: {reason}")
    return None, "no rule takes it (" + "; ".join(reasons) + ")"


def waiting(rules: Sequence[Rule], facts: Facts) -> tuple[float | None, int | None]:
    """Quiet period (s) and number of objects that complete a series, as its rule has them."""
    for rule in rules:
        # Numbers grow while the series arrives, so they do not count yet.
        early = replace(rule, min_spacing_mm=None, min_thickness_mm=None, min_instances=1)
        if mismatch(early, facts) is None:
            return rule.quiet_s, rule.instances
    return None, None


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read a rules file: TOML with one ``[[rule]]`` after the other.

    Raises:
        InputError: if it cannot be read, or a key or value is not one that is known.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no TOML: {error}") from error
    unknown = sorted(set(content) - {"rule"})
    if unknown:
        raise InputError(f"{path}: unknown key {unknown[0]!r}; expected [[rule]] tables only")
    tables = content.get("rule")
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{path}: has no [[rule]]; write one, or leave out --rules")
    return tuple(_rule(path, number, table) for number, table in enumerate(tables, 1))


def _rule(path: Path, number: int, table: Mapping[str, Any]) -> Rule:
    where = f"{path}: rule {number}"
    kinds = {field.name: str(field.type) for field in fields(Rule)}
    values: dict[str, Any] = {"name": f"rule {number}"}
    for key, value in table.items():
        if key not in kinds:
            raise InputError(f"{where}: unknown key {key!r}; known are {', '.join(kinds)}")
        values[key] = _value(where, key, kinds[key], value)
    if values.get("action", "interpolate") not in get_args(Action):
        raise InputError(
            f"{where}: action is {values['action']!r}, expected one of "
            f"{', '.join(get_args(Action))}"
        )
    for key in ("modality", "image_type", "not_image_type"):
        values[key] = tuple(text.upper() for text in values.get(key, ()))
    rule = Rule(**values)
    _check_work(where, rule)
    return rule


def _check_work(where: str, rule: Rule) -> None:
    """Refuse what could not be worked with, before series wait for it.

    Raises:
        InputError: if method, spacing or factor is wrong.
    """
    try:
        missing = find_method(rule.method).missing
    except RequestError as error:
        raise InputError(f"{where}: {error}") from error
    if missing:
        raise InputError(f"{where}: method {rule.method!r} {missing}")
    try:
        spacing = parse_spacing(rule.spacing)
    except RequestError:
        spacing = 0.0
    if spacing != "iso" and not 0 < spacing < math.inf:
        raise InputError(f"{where}: spacing is {rule.spacing!r}, expected 'iso' or a number of mm")
    if rule.factor is None:
        return
    if rule.factor > MAX_INTERVALS:
        raise InputError(f"{where}: factor is {rule.factor}, expected 1 to {MAX_INTERVALS}")
    if spacing != "iso":
        raise InputError(f"{where}: spacing and factor exclude each other; leave one of them out")


def _value(where: str, key: str, kind: str, value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind.startswith("tuple"):
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        expected = "a text or a list of texts"
    elif kind.startswith("float"):
        if is_number and 0 <= value < 1e6:
            return float(value)
        expected = "a number that is not negative"
    elif kind.startswith("int"):
        if is_number and isinstance(value, int) and value >= 1:
            return value
        expected = "a whole number of at least 1"
    else:
        if isinstance(value, str):
            return value
        if key == "spacing" and is_number:
            return str(value)
        expected = "a text"
    raise InputError(f"{where}: {key} is {value!r}, expected {expected}")


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(text.lower(), pattern.lower()) for pattern in patterns)


def _values(facts: Facts) -> set[str]:
    return {value.strip() for value in facts.image_type.split("\\")}


def _reaches(value: float | None, least: float | None) -> bool:
    return least is None or (value is not None and value >= least - _TOLERANCE_MM)
