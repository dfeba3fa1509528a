"""What an association is about: answers to an A-ASSOCIATE-RQ (PS3.8 9.3)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from hrinet.node.names import safe_title
from hrinet.node.objects import IMPLEMENTATION_NAME, IMPLEMENTATION_UID

VERIFICATION = "1.2.840.10008.1.1"

CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
)
"""CT Image, Enhanced CT Image, Legacy Converted Enhanced CT Image Storage."""

TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.2",
)
"""In the order of preference. Not the deflated one, whose size cannot be bounded on arrival."""

_BY_USER, _BY_PRESENTATION = 1, 3
_PERMANENT, _TRANSIENT = 1, 2
_REMEMBERED = 64
_ANSWERING = threading.Lock()
"""An answer takes 50 ms; devices that call at once with the same request wait for one of them."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An association that is not accepted (PS3.8 table 9-21).

    Attributes:
        pdu: the A-ASSOCIATE-RJ.
        reason: for log and metrics.
        calling: AE title of the peer, safe to print.
    """

    pdu: bytes
    reason: str
    calling: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """An association that is accepted.

    Attributes:
        pdu: the A-ASSOCIATE-AC.
        calling: AE title of the peer, safe to print.
        contexts: presentation context ID -> (abstract syntax, transfer syntax).
    """

    pdu: bytes
    calling: str
    contexts: Mapping[int, tuple[str, str]]


def answer(
    request: bytes,
    *,
    title: str,
    allowed: frozenset[str],
    sop_classes: tuple[str, ...],
    max_pdu: int,
    is_busy: bool,
) -> Agreement | Rejection:
    """Accept or reject an association.

    Args:
        request: the A-ASSOCIATE-RQ, header included.
        title: our AE title; the peer has to call it.
        allowed: AE titles that may call, or empty for all.
        sop_classes: storage classes that are taken.
        max_pdu: to announce, bytes.
        is_busy: whether too many associations or bytes are here already.

    Raises:
        Exception: of any kind, if the bytes make no sense.
    """
    with _ANSWERING:
        answered = _answer(request, title, allowed, sop_classes, max_pdu)
    if is_busy and isinstance(answered, Agreement):
        return Rejection(_rejected(_TRANSIENT, _BY_PRESENTATION, 2), "busy", answered.calling)
    return answered


@functools.lru_cache(maxsize=_REMEMBERED)
def _answer(
    request: bytes,
    title: str,
    allowed: frozenset[str],
    sop_classes: tuple[str, ...],
    max_pdu: int,
) -> Agreement | Rejection:
    """The answer to a request; a device sends the same one again and again."""
    from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import (
        A_ASSOCIATE,
        ImplementationClassUIDNotification,
        ImplementationVersionNameNotification,
        MaximumLengthNotification,
    )
    from pynetdicom.presentation import build_context, negotiate_as_acceptor

    pdu = A_ASSOCIATE_RQ()
    pdu.decode(request)
    asked = pdu.to_primitive()
    calling = asked.calling_ae_title or ""
    shown = safe_title(calling)
    if (asked.called_ae_title or "").strip() != title:
        return Rejection(_rejected(_PERMANENT, _BY_USER, 7), "called title", shown)
    if allowed and calling.strip() not in allowed:
        return Rejection(_rejected(_PERMANENT, _BY_USER, 3), "calling title", shown)

    offered = [build_context(VERIFICATION, list(TRANSFER_SYNTAXES[:2]))]
    offered += [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in sop_classes]
    results, _ = negotiate_as_acceptor(asked.presentation_context_definition_list, offered)

    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_NAME

    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title = asked.calling_ae_title
    primitive.called_ae_title = asked.called_ae_title
    primitive.result = 0
    primitive.result_source = 1
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = [length, implementation, version]
    accepted = A_ASSOCIATE_AC()
    accepted.from_primitive(primitive)
    return Agreement(
        pdu=accepted.encode(),
        calling=shown,
        contexts={
            context.context_id: (str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for context in results
            if context.result == 0 and context.context_id is not None
        },
    )


def _rejected(result: int, source: int, diagnostic: int) -> bytes:
    return bytes((3, 0, 0, 0, 0, 4, 0, result, source, diagnostic))
