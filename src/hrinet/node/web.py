"""The client's side of DICOMweb: QIDO-RS by pages, WADO-RS object by object, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hrinet.node.peers import PeerDownError, PeerRefusedError, WebPeer, translated
from hrinet.printable import printable

PAGE = 500
"""Series that are asked for at a time."""

_MAX_PAGES = 10_000
_MAX_ANSWER_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"))
_META_GROUP = b"\x02\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A series at the peer.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        modality: of the series.
        description: Series Description.
        instances: how many objects the peer says there are, or None.
        study_date: YYYYMMDD, or empty where it is not told.
    """

    study: str
    series: str
    modality: str
    description: str
    instances: int | None
    study_date: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An object as the server sent it, a DICOM file (PS3.10).

    Attributes:
        sop_class: of its meta information.
        sop_instance: of its meta information.
        transfer_syntax: of the dataset.
        content: the whole file.
        offset: where the dataset begins in it, bytes.
    """

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    content: bytes
    offset: int


def search(source: WebPeer, keys: Mapping[str, str]) -> Iterator[list[Found]]:
    """Ask for series (QIDO-RS, PS3.18 10.6), page after page.

    Args:
        source: the server.
        keys: keyword -> value to match; empty values are left out.

    Yields:
        Pages; a series may be in two of them if the server's list changes meanwhile.

    Raises:
        PeerDownError: if the server is away.
        PeerRefusedError: if it refuses, or answers with something else.
    """
    client = source.client(guard=_Meter(source.name, limit=_MAX_ANSWER_BYTES).attach)
    offset = 0
    earlier: list[Found] = []
    for _ in range(_MAX_PAGES):
        try:
            with translated(source.name):
                answers = client.search_for_series(
                    search_filters={key: value for key, value in keys.items() if value},
                    fields=["SeriesDescription", "NumberOfSeriesRelatedInstances", "StudyDate"],
                    limit=PAGE,
                    offset=offset,
                )
            page = [_found(answer, keys) for answer in answers]
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise PeerRefusedError(f"{source.name}: its answer is no DICOM JSON") from error
        # Servers may have smaller pages than ours, so only an empty one is the last; and one
        # that comes again is of a server that knows no offset.
        if not page or page == earlier:
            return
        yield page
        offset += len(page)
        earlier = page


def retrieve(
    source: WebPeer,
    one: Found,
    *,
    max_object_bytes: int | None = None,
    on_chunk: Callable[[], None] = lambda: None,
) -> Iterator[Part]:
    """Fetch the objects of a series as they are stored (WADO-RS, PS3.18 10.4).

    Args:
        source: the server.
        one: the series.
        max_object_bytes: beyond which an object is not read on.
        on_chunk: called whenever data came; what it raises ends the transfer.

    Raises:
        PeerDownError: if the server is away, or the answer is cut off.
        PeerRefusedError: if it refuses, sends something else, or too large an object.
    """
    from pydicom.errors import InvalidDicomError

    meter = _Meter(source.name, limit=max_object_bytes, on_chunk=on_chunk)
    client = source.client(chunk_bytes=_CHUNK_BYTES, guard=meter.attach)
    try:
        with translated(source.name):
            # As it is stored; by default the server would decompress.
            for dataset in client.iter_series(
                one.study, one.series, media_types=(("application/dicom", "*"),)
            ):
                meter.reset()
                yield _part(dataset)
    except (InvalidDicomError, ValueError, TypeError, AttributeError, KeyError, EOFError) as error:
        raise PeerRefusedError(f"{source.name}: sent something that is no DICOM object") from error


class _Meter:
    """Bounds what is read of an answer without a break, and notices one that is cut off."""

    def __init__(
        self, name: str, *, limit: int | None, on_chunk: Callable[[], None] = lambda: None
    ) -> None:
        self._name = name
        self._limit = limit
        self._on_chunk = on_chunk
        self._size = 0

    def reset(self) -> None:
        """An object is whole; count anew."""
        self._size = 0

    def attach(self, response: Any, *_: Any, **__: Any) -> None:
        """A hook of requests for responses."""
        read = response.iter_content
        is_multipart = response.headers.get("Content-Type", "").lower().startswith("multipart/")
        self._size = 0

        def iter_content(chunk_size: int = 1, decode_unicode: bool = False) -> Iterator[Any]:
            tail = b""
            for chunk in read(chunk_size, decode_unicode):
                self._on_chunk()
                self._size += len(chunk)
                # One chunk of the object before and the head of a part may be counted with it.
                if self._limit is not None and self._size > self._limit + 2 * _CHUNK_BYTES:
                    raise PeerRefusedError(
                        f"{self._name}: sends more than the {self._limit} bytes that are allowed"
                    )
                if is_multipart:
                    tail = (tail + chunk)[-16:]
                yield chunk
            # The closing delimiter ends with two hyphens, RFC 2046 section 5.1.1.
            if is_multipart and tail and not tail.rstrip().endswith(b"--"):
                raise PeerDownError(f"{self._name}: the answer was cut off")

        response.iter_content = iter_content


def _found(answer: Any, keys: Mapping[str, str]) -> Found:
    count = _value(answer, "00201209")
    return Found(
        study=_value(answer, "0020000D") or keys.get("StudyInstanceUID", ""),
        series=_value(answer, "0020000E"),
        modality=printable(_value(answer, "00080060")),
        description=printable(_value(answer, "0008103E")),
        instances=int(count) if count.isdecimal() and len(count) < 10 else None,
        study_date=_value(answer, "00080020"),
    )


def _value(answer: Any, tag: str) -> str:
    values = answer.get(tag, {}).get("Value") or [""]
    return "" if values[0] is None else str(values[0])


def _part(dataset: Any) -> Part:
    content = dataset.buffer.getvalue()
    return Part(
        sop_class=str(dataset.file_meta.get("MediaStorageSOPClassUID", "")),
        sop_instance=str(
            dataset.file_meta.get("MediaStorageSOPInstanceUID", "") or dataset.SOPInstanceUID
        ),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        content=content,
        offset=_dataset_offset(content),
    )


def _dataset_offset(content: bytes) -> int:
    """The end of the File Meta Information, which is Explicit VR Little Endian (PS3.10 7.1)."""
    place = 132
    while content[place : place + 2] == _META_GROUP:
        if content[place + 4 : place + 6] in _LONG_VRS:
            place += 12 + int.from_bytes(content[place + 8 : place + 12], "little")
        else:
            place += 8 + int.from_bytes(content[place + 6 : place + 8], "little")
    return place
