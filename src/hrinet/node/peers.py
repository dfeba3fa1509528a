"""Where series are sent: a DICOM storage provider, or a DICOMweb server."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from hrinet.errors import RequestError, RunError
from hrinet.node.names import safe_title

if TYPE_CHECKING:
    from dicomweb_client.api import DICOMwebClient
    from pynetdicom.association import Association

OUR_TITLE = "HRINET"

AUTHORIZATION = "HRINET_WEB_AUTHORIZATION"
"""Environment variable whose value becomes the Authorization header of DICOMweb requests."""

_PEER = re.compile(
    r"(?P<title>[^@]{1,16})@(?P<host>\[[0-9a-fA-F:]+\]|[^:@\[\]]+):(?P<port>\d{1,5})"
)
_TIMEOUT_S = 30.0
_BATCH_BYTES = 32 << 20
_UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_WARNINGS = (0xB000, 0xB006, 0xB007)
_MAX_CONTEXTS = 128


class PeerDownError(RunError):
    """The peer cannot be reached, or has no room now; trying again later helps."""


class PeerRefusedError(RunError):
    """The peer does not want an object; trying again does not help."""


class Peer(Protocol):
    """Somewhere to send objects to."""

    @property
    def name(self) -> str:
        """For messages, without credentials."""
        ...

    def send(self, paths: Sequence[Path]) -> None:
        """Send files; those that are there already count as sent.

        Raises:
            PeerDownError: if the peer is away.
            PeerRefusedError: if it refuses.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DimsePeer:
    """A peer that speaks DIMSE.

    Attributes:
        title: its AE title.
        host: name or address.
        port: TCP.
        our_title: AE title that we call with.
        tls: for connections, or None.
    """

    title: str
    host: str
    port: int
    our_title: str = OUR_TITLE
    tls: ssl.SSLContext | None = None

    @property
    def name(self) -> str:
        """``AET@HOST:PORT``."""
        return f"{self.title}@{self.host}:{self.port}"

    def associate(self, contexts: Sequence[Any], **options: Any) -> Association:
        """Open an association with presentation contexts of pynetdicom.

        Raises:
            PeerDownError: if the peer cannot be reached or rejects the association.
        """
        from pynetdicom import AE

        from hrinet.node.extra import silence_libraries

        silence_libraries()
        entity = AE(self.our_title)
        entity.connection_timeout = _TIMEOUT_S
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
        entity.maximum_pdu_size = 131072
        association = entity.associate(
            self.host.strip("[]"),
            self.port,
            list(contexts),
            ae_title=self.title,
            tls_args=(self.tls, self.host) if self.tls else None,
            **options,
        )
        if association.is_established:
            return association
        how = "rejected the association" if association.is_rejected else "cannot be reached"
        raise PeerDownError(f"{self.name}: {how}")

    def send(self, paths: Sequence[Path]) -> None:
        """C-STORE the files on one association; see :class:`Peer`."""
        from pynetdicom.presentation import build_context

        kinds = {path: _kind_of(path) for path in paths}
        wanted = dict.fromkeys(kinds.values())
        contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]
        # For peers that take only the other uncompressed syntax.
        contexts += [
            build_context(sop_class, [other])
            for sop_class, syntax in wanted
            if syntax in _UNCOMPRESSED
            for other in _UNCOMPRESSED
            if (sop_class, other) not in wanted
        ]
        association = self.associate(contexts[:_MAX_CONTEXTS])
        try:
            accepted = {
                (str(context.abstract_syntax), str(context.transfer_syntax[0]))
                for context in association.accepted_contexts
            }
            for path, kind in kinds.items():
                self._store(association, path, is_exact=kind in accepted)
        finally:
            if association.is_established:
                association.release()

    def _store(self, association: Association, path: Path, *, is_exact: bool) -> None:
        from pydicom import dcmread

        try:
            # A path is sent without being decoded; anything else gets converted on the way.
            answer = association.send_c_store(path if is_exact else dcmread(path))
        except ValueError as error:
            raise PeerRefusedError(
                f"{self.name}: accepts neither the SOP class nor the transfer syntax of an object"
            ) from error
        except RuntimeError as error:
            raise PeerDownError(f"{self.name}: the association broke") from error
        if "Status" not in answer:
            raise PeerDownError(f"{self.name}: the association broke")
        status = int(answer.Status)
        if status == 0 or status in _WARNINGS:
            return
        # Not with the peer's comment, which may name the patient.
        text = f"{self.name}: refused an object with status {status:04x}"
        # 0xA7xx is "out of resources", PS3.4 table B.2-1.
        raise PeerDownError(text) if status >> 8 == 0xA7 else PeerRefusedError(text)

    def echo(self) -> None:
        """C-ECHO.

        Raises:
            PeerDownError: if there is no answer.
        """
        from pynetdicom.presentation import build_context

        association = self.associate([build_context("1.2.840.10008.1.1")])
        try:
            if association.send_c_echo().get("Status") != 0:
                raise PeerDownError(f"{self.name}: does not answer to C-ECHO")
        finally:
            association.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPeer:
    """A peer that speaks DICOMweb.

    Attributes:
        url: base of the services, without credentials.
        ca: file with certificates to trust instead of the system's, or None.
    """

    url: str
    ca: Path | None = None

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    def client(
        self, *, chunk_bytes: int = 1 << 20, guard: Callable[..., None] | None = None
    ) -> DICOMwebClient:
        """A client of dicomweb-client; credentials come from the environment.

        Args:
            chunk_bytes: of what is read at a time, and of requests that are not chunked.
            guard: sees each response before its content is read.
        """
        import requests
        from dicomweb_client.api import DICOMwebClient

        from hrinet.node.extra import silence_libraries

        silence_libraries()
        session = requests.Session()
        if self.ca is not None:
            session.verify = str(self.ca)
        if guard is not None:
            session.hooks["response"].append(guard)
        authorization = os.environ.get(AUTHORIZATION)
        client = DICOMwebClient(
            self.url,
            session=session,
            headers={"Authorization": authorization} if authorization else None,
            chunk_size=chunk_bytes,
            timeout=_TIMEOUT_S,
        )
        client.set_http_retry_params(retry=False)
        return client

    def send(self, paths: Sequence[Path]) -> None:
        """STOW-RS in requests of some 32 MB; see :class:`Peer`."""
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError

        for batch in _batches(paths):
            try:
                datasets = [dcmread(path) for path in batch]
            except (InvalidDicomError, OSError) as error:
                raise PeerRefusedError(f"{self.name}: an object cannot be read back") from error
            with translated(self.name):
                # Not every server takes chunked requests, so a batch is one chunk.
                answer = self.client(chunk_bytes=2 * _BATCH_BYTES).store_instances(datasets)
            failed = answer.get("FailedSOPSequence") or ()
            if failed:
                reason = int(failed[0].get("FailureReason", 0) or 0)
                text = f"{self.name}: refused {len(failed)} objects, reason {reason:04x}"
                raise PeerDownError(text) if reason >> 8 == 0xA7 else PeerRefusedError(text)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """What requests raises becomes one of our errors, without URLs of objects.

    Raises:
        PeerDownError: if the server is away, or answers so that trying later may help.
        PeerRefusedError: if it answers that it does not want what was sent.
    """
    import requests

    try:
        yield
    except requests.HTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        text = f"{name}: answered with HTTP status {code}"
        # Rights and paths are a matter of the peer's configuration, not of the object.
        is_passing = code >= 500 or code in (0, 401, 403, 404, 408, 425, 429)
        raise (PeerDownError if is_passing else PeerRefusedError)(text) from error
    except requests.RequestException as error:
        raise PeerDownError(f"{name}: cannot be reached") from error


def parse_peer(text: str, *, our_title: str = OUR_TITLE) -> DimsePeer | WebPeer:
    """A peer as it is written on the command line: ``AET@HOST:PORT`` or a URL.

    Raises:
        RequestError: if it is neither; a text that may hold credentials is not repeated.
    """
    text = text.strip()
    if is_web(text):
        return parse_url(text)
    # An AE title may be anything, so a misspelt scheme with credentials would pass as one.
    found = None if "//" in text else _PEER.fullmatch(text)
    if found is None or not (0 < int(found["port"]) < 65536 and _is_title(found["title"])):
        is_public = "//" not in text and ":" not in text.rpartition("@")[0]
        what = repr(text) if is_public else "the text (not shown, it may hold a password)"
        raise RequestError(f"{what} is no peer; expected AET@HOST:PORT or an http(s) URL")
    return DimsePeer(
        title=found["title"].strip(),
        host=found["host"],
        port=int(found["port"]),
        our_title=our_title,
    )


def is_web(text: str) -> bool:
    """Whether a text is meant as a URL of DICOMweb."""
    return text.strip().lower().startswith(("http:", "https:"))


def parse_url(text: str) -> WebPeer:
    """A DICOMweb server as it is written on the command line.

    Raises:
        RequestError: if it is no URL, or contains credentials (any ``@``), which are not repeated.
    """
    text = text.strip()
    if "@" in text:
        raise RequestError(
            "credentials (what stands before an @) do not belong in a URL, where other users can "
            f"see them; set the environment variable {AUTHORIZATION} to the Authorization header "
            "instead"
        )
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # Brackets that do not close, a port that is none.
        is_url = False
    if not is_url:
        raise RequestError(
            f"{text!r} is no http(s) URL; expected one such as http://127.0.0.1:8042/dicom-web"
        )
    return WebPeer(url=parts.scheme + text[len(parts.scheme) :].rstrip("/"))


def check_title(title: str) -> str:
    """An AE title: 1 to 16 printable ASCII characters without a backslash (PS3.5 6.2).

    Raises:
        RequestError: if it is none.
    """
    if not _is_title(title):
        raise RequestError(f"{title!r} is no AE title; expected 1 to 16 ASCII characters")
    return title.strip()


def _is_title(text: str) -> bool:
    title = text.strip()
    return 1 <= len(title) <= 16 and "\\" not in title and safe_title(title) == title


def _kind_of(path: Path) -> tuple[str, str]:
    """SOP class and transfer syntax of a file, from its meta information.

    Raises:
        PeerRefusedError: if there is none.
    """
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    try:
        meta = read_file_meta_info(path)
        return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    except (InvalidDicomError, OSError, AttributeError, EOFError) as error:
        raise PeerRefusedError("an object cannot be read back from the store") from error


def _batches(paths: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in paths:
        bytes_of = path.stat().st_size
        if batch and size + bytes_of > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += bytes_of
    if batch:
        yield batch
