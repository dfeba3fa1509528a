"""One-off: find series at a PACS or DICOMweb server, and fetch them into a folder."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hrinet.errors import RequestError, RunError
from hrinet.node.config import NodeConfig
from hrinet.node.names import is_uid, key_of
from hrinet.node.negotiation import CT_CLASSES, TRANSFER_SYNTAXES
from hrinet.node.peers import DimsePeer, PeerDownError, PeerRefusedError, WebPeer
from hrinet.node.web import Found, retrieve, search
from hrinet.printable import printable

Way = Literal["get", "move"]

_STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for; an empty field matches everything.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        patient: Patient ID.
        accession: Accession Number.
        modality: of the series.
    """

    study: str = ""
    series: str = ""
    patient: str = ""
    accession: str = ""
    modality: str = "CT"

    def check(self) -> None:
        """Refuse what would ask for everything, and what is no UID.

        Raises:
            RequestError: see above.
        """
        if not (self.study or self.series or self.patient or self.accession):
            raise RequestError("pass --study, --series, --patient or --accession")
        for option, value in (("--study", self.study), ("--series", self.series)):
            if value and not is_uid(value):
                raise RequestError(f"{option} {value!r} is no UID; expected digits and dots")


def find(source: DimsePeer | WebPeer, query: Query) -> list[Found]:
    """The series that match, by QIDO-RS or C-FIND.

    Raises:
        RequestError: if the query is wrong.
        RunError: if the source is away or refuses.
    """
    query.check()
    found = _find_web(source, query) if isinstance(source, WebPeer) else _find(source, query)
    is_wanted: Callable[[Found], bool] = lambda one: (  # noqa: E731
        # Peers may ignore keys they do not support.
        (not query.modality or one.modality in ("", query.modality))
        and (not query.study or one.study == query.study)
        and (not query.series or one.series == query.series)
        and is_uid(one.study)
        and is_uid(one.series)
    )
    return sorted(filter(is_wanted, found), key=lambda one: (one.study, one.series))


def fetch(
    source: DimsePeer | WebPeer,
    found: Sequence[Found],
    output: Path,
    *,
    way: Way = "get",
    receiver: NodeConfig | None = None,
) -> int:
    """Fetch series into a new folder: one series into it, several into a subfolder each.

    Args:
        source: where they are.
        found: which.
        output: to be made; it appears when everything is there.
        way: for DIMSE, C-GET or C-MOVE.
        receiver: for C-MOVE, where our node listens; ``store`` is not used.

    Returns:
        How many objects there are.

    Raises:
        RequestError: if the folder exists.
        RunError: if the source is away, refuses, or sends nothing.
    """
    if output.exists():
        raise RequestError(f"{output}: exists already; choose a new folder")
    if not output.absolute().parent.is_dir():
        raise RequestError(f"{output}: its folder does not exist; create it")
    staging = output.absolute().parent / f".{output.name}.{secrets.token_hex(4)}.tmp"
    staging.mkdir()
    count = 0
    try:
        for one in found:
            folder = staging if len(found) == 1 else staging / key_of(one.series)
            folder.mkdir(exist_ok=True)
            if isinstance(source, WebPeer):
                got = _fetch_web(source, one, folder)
            elif way == "get":
                got = _fetch_get(source, one, folder)
            else:
                got = _fetch_move(source, one, folder, receiver)
            if got == 0:
                raise RunError(f"{source.name}: has sent no object of a series")
            if one.instances is not None and got < one.instances:
                raise RunError(
                    f"{source.name}: has sent {got} of the {one.instances} objects of a series"
                )
            count += got
        staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return count


def _find_web(source: WebPeer, query: Query) -> list[Found]:
    keys = {
        "StudyInstanceUID": query.study,
        "SeriesInstanceUID": query.series,
        "PatientID": query.patient,
        "AccessionNumber": query.accession,
        "Modality": query.modality,
    }
    found = (one for page in search(source, keys) for one in page)
    return list({one.series: one for one in found}.values())


def _count(text: Any) -> int | None:
    # As in DICOM JSON: at most nine digits, and only those that int() takes.
    return int(str(text)) if str(text).isdecimal() and len(str(text)) < 10 else None


def _find(source: DimsePeer, query: Query) -> list[Found]:
    from pydicom import Dataset

    def ask(level: str, keys: dict[str, str]) -> list[Dataset]:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for key, value in keys.items():
            setattr(identifier, key, value)
        answers = []
        for status, answer in association.send_c_find(identifier, _STUDY_FIND):
            code = _status(source, status)
            if code in _PENDING and answer is not None:
                answers.append(answer)
            elif code != 0 and code not in _PENDING:
                raise PeerRefusedError(f"{source.name}: C-FIND ended with status {code:04x}")
        return answers

    association = source.associate([_context(_STUDY_FIND)])
    try:
        studies = [query.study]
        if not query.study and (query.patient or query.accession):
            keys = {
                "StudyInstanceUID": "",
                "PatientID": query.patient,
                "AccessionNumber": query.accession,
            }
            studies = [str(answer.get("StudyInstanceUID", "")) for answer in ask("STUDY", keys)]
        found = []
        for study in studies:
            keys = {
                "StudyInstanceUID": study,
                "SeriesInstanceUID": query.series,
                "Modality": query.modality,
                "SeriesDescription": "",
                "NumberOfSeriesRelatedInstances": "",
            }
            found += [
                Found(
                    study=str(answer.get("StudyInstanceUID", "") or study),
                    series=str(answer.get("SeriesInstanceUID", "")),
                    modality=printable(str(answer.get("Modality", ""))),
                    description=printable(str(answer.get("SeriesDescription", ""))),
                    instances=_count(answer.get("NumberOfSeriesRelatedInstances")),
                )
                for answer in ask("SERIES", keys)
            ]
        return found
    finally:
        if association.is_established:
            association.release()


def _context(uid: str, syntaxes: Sequence[str] = TRANSFER_SYNTAXES[:2]) -> Any:
    from pynetdicom.presentation import build_context

    return build_context(uid, list(syntaxes))


def _status(source: DimsePeer, status: Any) -> int:
    if "Status" not in status:
        raise PeerDownError(f"{source.name}: the association broke")
    return int(status.Status)


def _identifier(one: Found) -> Any:
    from pydicom import Dataset

    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID = one.study
    identifier.SeriesInstanceUID = one.series
    return identifier


def _fetch_web(source: WebPeer, one: Found, folder: Path) -> int:
    count = 0
    for part in retrieve(source, one):
        (folder / _file_name(part.sop_instance)).write_bytes(part.content)
        count += 1
    return count


def _file_name(sop_instance: object) -> str:
    return f"{key_of(str(sop_instance))}.dcm"


def _fetch_get(source: DimsePeer, one: Found, folder: Path) -> int:
    from pynetdicom import build_role, evt

    got = set()

    def store(event: Any) -> int:
        name = _file_name(event.request.AffectedSOPInstanceUID)
        (folder / name).write_bytes(event.encoded_dataset())
        got.add(name)
        return 0

    # One context for every transfer syntax, so that the peer can send each object as it is.
    contexts = [_context(_STUDY_GET)]
    contexts += [_context(uid, [syntax]) for uid in CT_CLASSES for syntax in TRANSFER_SYNTAXES]
    association = source.associate(
        contexts,
        ext_neg=[build_role(uid, scp_role=True) for uid in CT_CLASSES],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    try:
        for status, _ in association.send_c_get(_identifier(one), _STUDY_GET):
            code = _status(source, status)
            if code != 0 and code not in _PENDING:
                raise PeerRefusedError(f"{source.name}: C-GET ended with status {code:04x}")
    finally:
        if association.is_established:
            association.release()
    return len(got)


def _fetch_move(source: DimsePeer, one: Found, folder: Path, receiver: NodeConfig | None) -> int:
    """C-MOVE to a node that runs just for this, and whose store is a temporary folder."""
    import dataclasses

    from hrinet.node.service import Node

    if receiver is None:
        raise RequestError("C-MOVE needs an AE title and port of ours that the peer knows")
    place = folder.parent / f".{folder.name}.move"
    config = dataclasses.replace(receiver, store=place, peer=None, http=None, quiet_s=1e9)
    node = Node(config)
    try:
        node.start()
        association = source.associate([_context(_STUDY_MOVE)])
        try:
            for status, _ in association.send_c_move(_identifier(one), config.title, _STUDY_MOVE):
                code = _status(source, status)
                if code != 0 and code not in _PENDING:
                    raise PeerRefusedError(f"{source.name}: C-MOVE ended with status {code:04x}")
        finally:
            if association.is_established:
                association.release()
        series = node.store.rows.get(key_of(one.series))
        files = node.store.rows.files(key_of(one.series)) if series else []
        for uid, file, _ in files:
            (node.store.objects.root / file).rename(folder / _file_name(uid))
        return len(files)
    finally:
        node.stop()
        shutil.rmtree(place, ignore_errors=True)
