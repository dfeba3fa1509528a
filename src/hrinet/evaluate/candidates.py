"""Which methods take part, and why some cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hrinet.errors import InputError, RequestError
from hrinet.evaluate.protocols import ProtocolName
from hrinet.evaluate.thesis import TABLE_4_4, TABLE_4_5
from hrinet.evaluate.work import Candidate
from hrinet.synthesize.registry import METHODS, find_method
from hrinet.weights.description import read_description
from hrinet.weights.find import find_weights
from hrinet.weights.flow import is_flow

REFERENCE = "cubic"
"""The method that the others are compared with."""

BASELINES = ("repeat", "linear", "cubic")

FAMILY_TITLES = {
    "ae": "AE",
    "acai": "ACAI",
    "hrinet-patchgan": "HRINet (PatchGAN only)",
    "hrinet-mse": "HRINet-MSE",
    "hrinet-perceptual": "HRINet-Perceptual",
    "repeat": "nearest (repeat)",
    "truth": "Ground truth",
}

NO_WEIGHTS = "no weights installed"


def title_of(name: str) -> str:
    """What tables call a method."""
    return FAMILY_TITLES.get(name, name)


def choose(names: Sequence[str] | None, weights: Sequence[Path]) -> tuple[Candidate, ...]:
    """The methods under evaluation, in the registry's order, those of one's own weights last.

    The reference method and the other baselines always take part: a table without them tells
    nothing.

    Args:
        names: of methods; None for all.
        weights: files of one's own. One that is named as a method without weights takes its place.

    Raises:
        RequestError: if there is no such method, or two files have one name.
        InputError: if a description of weights is missing or damaged.
    """
    wanted = None if names is None else {find_method(name).name for name in names}
    own = _own(weights)
    found = []
    for method in METHODS:
        if wanted is None or method.name in wanted or method.name in BASELINES:
            given = own.pop(method.name, None)
            found.append(given or _registered(method.name))
    return (*found, *own.values())


def named(names: Iterable[str], candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Candidates by name; a name that is none of them has no weights."""
    known = {candidate.name: candidate for candidate in candidates}
    methods = {method.name for method in METHODS}
    chosen = []
    for name in names:
        if name in known:
            chosen.append(known[name])
        elif name in methods:
            chosen.append(_registered(name))
        else:
            chosen.append(Candidate(name=name, is_family=True, missing=NO_WEIGHTS))
    return tuple(chosen)


def names_for(protocol: ProtocolName, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Names of those that take part in a protocol."""
    study = set(TABLE_4_4) | set(TABLE_4_5)
    ordinary = [c.name for c in candidates if c.name not in study or _is_method(c.name)]
    if protocol == "ablation":
        return (*BASELINES, *TABLE_4_4)
    if protocol == "receptive-field":
        return (*ordinary, *TABLE_4_5)
    if protocol == "reconstruction":
        family = [candidate.name for candidate in candidates if candidate.is_family]
        return tuple(name for name in ordinary if name in family)
    return tuple(ordinary)


def _is_method(name: str) -> bool:
    return any(method.name == name for method in METHODS)


def _registered(name: str) -> Candidate:
    method = find_method(name)
    candidate = Candidate(name=name, is_family=method.kind == "family")
    if method.weights is not None and not method.weights.is_file():
        return replace(candidate, missing=NO_WEIGHTS)
    if method.missing:
        return replace(candidate, missing=method.missing)
    if method.weights is None:
        return candidate
    return replace(candidate, sha256=read_description(method.weights).sha256)


def _own(weights: Sequence[Path]) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    for path in weights:
        file = find_weights(path)
        description = read_description(file)
        if description.name in found:
            raise RequestError(
                f"{file}: holds weights of {description.name!r}, as does "
                f"{found[description.name].weights}; give one of them another name in its JSON"
            )
        try:
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
        found[description.name] = Candidate(
            name=description.name,
            weights=file,
            sha256=sha256,
            is_family=not is_flow(description),
        )
    return found
