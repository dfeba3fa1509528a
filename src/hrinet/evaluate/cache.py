"""Results kept on disk, so that a killed run goes on and a finished one costs nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hrinet
from hrinet.errors import RequestError
from hrinet.io.staging import Staging

CACHE_SCHEMA = "hrinet-evaluate-cache-1"

_CODE = ("synthesize", "metrics", "evaluate/protocols.py", "evaluate/subject.py")
_SCORING = ("evaluate/scoring.py", "evaluate/work.py")


@lru_cache(maxsize=1)
def code_fingerprint() -> str:
    """SHA-256 of the sources that a score depends on: methods, metrics, protocols.

    A version number would have to be remembered; a result that an older code made must never be
    taken for one of this code.
    """
    root = Path(hrinet.__file__).parent
    digest = hashlib.sha256(hrinet.__version__.encode())
    for name in (*_CODE, *_SCORING):
        path = root / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.suffix in (".py", ".json", ".npz", ".yaml") and file.is_file():
                digest.update(file.relative_to(root).as_posix().encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def key_of(values: Mapping[str, Any]) -> str:
    """Name of a result: SHA-256 of everything it depends on, the code included."""
    text = json.dumps({**values, "code": code_fingerprint()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Cache:
    """A folder with one JSON file, and perhaps one of pictures, a result.

    Files appear complete or not at all. A damaged one counts as absent.

    Args:
        folder: made if missing.

    Raises:
        RequestError: if the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"{folder}: cannot be made: {error.strerror}") from error

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of that name, or None."""
        try:
            found = json.loads(self._json(key).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict) or found.get("schema") != CACHE_SCHEMA:
            return None
        if found.get("has_slices") and self.slices(key) is None:
            return None
        return found

    def put(self, key: str, result: Mapping[str, Any], slices: Mapping[str, NDArray[Any]]) -> None:
        """Keep a result.

        Args:
            key: see :func:`key_of`.
            result: a JSON object.
            slices: arrays for pictures, by name; may be empty.
        """
        filled = {**result, "schema": CACHE_SCHEMA, "has_slices": bool(slices)}
        with Staging(overwrite=True) as staging:
            if slices:
                with staging.path(self._npz(key)).open("wb") as file:
                    np.savez_compressed(file, allow_pickle=False, **slices)
            staging.path(self._json(key)).write_text(json.dumps(filled) + "\n", "utf-8")

    def slices(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays for pictures of that name, or None."""
        try:
            with np.load(self._npz(key), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, KeyError):
            return None
        except Exception as error:  # zipfile has errors of its own for a damaged archive.
            if type(error).__module__ in ("zipfile", "zlib"):
                return None
            raise

    def _json(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _npz(self, key: str) -> Path:
        return self.folder / f"{key}.npz"
