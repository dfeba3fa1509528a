"""One association: a peer that verifies or stores (PS3.7 9.1.1 and 9.1.5, PS3.8 9.2).

pynetdicom does the negotiation, and all of what the node sends; but its acceptor polls with two
threads and reaches a sixth of the rate of DCMTK's, lets a PDU be of any length, and holds or
flushes every fragment. Objects are received here: one thread, one bounded buffer, straight to a
file.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from hrinet.node import dimse, pdu
from hrinet.node.files import WriteBuffer
from hrinet.node.intake import Intake
from hrinet.node.logs import LOG
from hrinet.node.metrics import Metrics
from hrinet.node.negotiation import Agreement, answer
from hrinet.node.objects import Incoming, RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What associations are offered.

    Attributes:
        title: our AE title.
        allowed: AE titles that may call, or empty for all.
        sop_classes: storage classes that are taken.
        max_pdu: bytes.
        acse_timeout_s: for the request to come in.
        network_timeout_s: without a byte, after which a peer is given up.
    """

    title: str
    allowed: frozenset[str]
    sop_classes: tuple[str, ...]
    max_pdu: int
    acse_timeout_s: float
    network_timeout_s: float


class Association:
    """Serves one peer until it releases, aborts, or misbehaves.

    Args:
        connection: the socket, TLS included.
        terms: what is offered.
        intake: where objects go.
        metrics: counted in.
        is_busy: whether the association should be turned away for now.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        terms: Terms,
        intake: Intake,
        metrics: Metrics,
        is_busy: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._terms = terms
        self._intake = intake
        self._metrics = metrics
        self._is_busy = is_busy
        self._reader = pdu.PduReader(connection, max_pdu=terms.max_pdu)
        self._buffer = WriteBuffer()
        self._agreement: Agreement | None = None
        self._command = bytearray()
        self._request: tuple[int, dimse.Command] | None = None
        self._incoming: Incoming | None = None
        self._started = 0.0
        self._is_stopping = False

    @property
    def is_receiving(self) -> bool:
        """Whether an object is on its way."""
        return self._request is not None

    def stop(self) -> None:
        """Ask the association to end after the object that is on its way."""
        self._is_stopping = True

    def serve(self) -> str:
        """Serve until the end.

        Returns:
            The outcome, for the metrics.
        """
        try:
            return self._serve()
        except pdu.ClosedError as error:
            return "released" if error.is_clean and self._request is None else "cut off"
        except (pdu.PduError, dimse.DimseError) as error:
            LOG.warning("association aborted: %s", error)
            self._send_abort()
            return "protocol error"
        except TimeoutError:
            self._send_abort()
            return "timeout"
        except OSError:
            return "cut off"
        finally:
            if self._incoming is not None:
                self._incoming.discard()

    def _send_abort(self) -> None:
        try:
            self._connection.sendall(pdu.abort_pdu())
        except OSError:
            return  # The peer is gone already.

    def _serve(self) -> str:
        self._connection.settimeout(self._terms.acse_timeout_s)
        kind, value = self._reader.read()
        if kind != pdu.ASSOCIATE_RQ:
            raise pdu.PduError("expected a request for an association")
        refusal = self._negotiate(bytes(value))
        if refusal:
            return refusal
        self._connection.settimeout(self._terms.network_timeout_s)
        while True:
            if self._is_stopping and self._request is None:
                self._connection.sendall(pdu.abort_pdu(by_user=True))
                return "stopped"
            kind, value = self._reader.read()
            if kind == pdu.P_DATA:
                for context, is_command, is_last, data in pdu.fragments(value):
                    self._take(context, data, is_command=is_command, is_last=is_last)
            elif kind == pdu.RELEASE_RQ:
                self._connection.sendall(pdu.RELEASE_RP)
                return "released"
            elif kind == pdu.ABORT:
                return "aborted by peer"
            else:
                raise pdu.PduError(f"unexpected PDU of type {kind}")

    def _negotiate(self, request: bytes) -> str:
        """Answer the request; returns why it was rejected, or nothing."""
        header = bytes((pdu.ASSOCIATE_RQ, 0)) + len(request).to_bytes(4, "big")
        try:
            answered = answer(
                header + request,
                title=self._terms.title,
                allowed=self._terms.allowed,
                sop_classes=self._terms.sop_classes,
                max_pdu=self._terms.max_pdu,
                is_busy=self._is_busy(),
            )
        except Exception as error:
            # Damaged requests make pynetdicom's parser raise nearly anything.
            raise pdu.PduError("the request for an association is damaged") from error
        self._connection.sendall(answered.pdu)
        if isinstance(answered, Agreement):
            self._agreement = answered
            return ""
        LOG.warning("association of %r rejected: %s", answered.calling, answered.reason)
        return f"rejected: {answered.reason}"

    def _take(self, context: int, data: memoryview, *, is_command: bool, is_last: bool) -> None:
        assert self._agreement is not None
        if context not in self._agreement.contexts:
            raise pdu.PduError("data for a presentation context that was not accepted")
        if is_command:
            if self._request is not None:
                raise pdu.PduError("a command before the end of a dataset")
            if len(self._command) + len(data) > dimse.MAX_COMMAND:
                raise pdu.PduError("a command set is too long")
            self._command += data
            if is_last:
                command = dimse.decode_command(self._command)
                self._command.clear()
                self._begin(context, command)
            return
        if self._request is None:
            raise pdu.PduError("a dataset without a command")
        if self._incoming is not None:
            self._incoming.write(data)
            if self._incoming.is_runaway:
                raise pdu.PduError("an object goes on far beyond the size that is allowed")
        if is_last:
            self._end()

    def _begin(self, context: int, command: dimse.Command) -> None:
        assert self._agreement is not None
        self._started = time.perf_counter()
        if command.field == dimse.C_CANCEL_RQ:
            return
        if command.field & dimse.RESPONSE:
            raise dimse.DimseError("a response to nothing")
        if not command.has_dataset:
            if command.field == dimse.C_ECHO_RQ:
                self._respond(context, command, dimse.SUCCESS)
            else:
                self._respond(context, command, dimse.UNRECOGNIZED_OPERATION, "no dataset")
            return
        self._request = (context, command)
        syntax, transfer_syntax = self._agreement.contexts[context]
        if command.field == dimse.C_STORE_RQ and command.sop_class == syntax:
            self._incoming = self._intake.begin(
                sop_class=command.sop_class,
                sop_instance=command.sop_instance,
                transfer_syntax=transfer_syntax,
                title=self._agreement.calling,
                buffer=self._buffer,
            )

    def _end(self) -> None:
        """The last byte of a dataset is here."""
        assert self._agreement is not None
        assert self._request is not None
        context, command = self._request
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            is_store = command.field == dimse.C_STORE_RQ
            self._request = None
            self._respond(
                context,
                command,
                dimse.NO_SUCH_CLASS if is_store else dimse.UNRECOGNIZED_OPERATION,
                "not what this presentation context is for",
            )
            return
        status, comment = dimse.SUCCESS, ""
        try:
            self._intake.finish(
                incoming,
                sop_class=command.sop_class,
                sop_instance=command.sop_instance,
                transfer_syntax=self._agreement.contexts[context][1],
                title=self._agreement.calling,
            )
        except RefusedError as refusal:
            status, comment = refusal.status, refusal.reason
        self._request = None
        self._respond(context, command, status, comment)
        self._metrics.add("receive_seconds_total", time.perf_counter() - self._started)

    def _respond(
        self, context: int, command: dimse.Command, status: int, comment: str = ""
    ) -> None:
        if status != dimse.SUCCESS:
            assert self._agreement is not None
            LOG.warning(
                "refused an object of %r: %s (status %04x)",
                self._agreement.calling,
                comment,
                status,
            )
            self._metrics.add("objects_refused_total", status=f"{status:04x}")
        answer_set = dimse.encode_response(command, status, comment)
        self._connection.sendall(pdu.command_pdu(context, answer_set))
