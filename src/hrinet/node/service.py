"""The node: receiving, watching, working and sending, each on its own, joined by the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from hrinet.errors import RunError
from hrinet.node.association import Terms
from hrinet.node.committer import Committer
from hrinet.node.config import NodeConfig
from hrinet.node.http import StatusServer
from hrinet.node.intake import Intake, IntakeLimits
from hrinet.node.logs import LOG, kind_of
from hrinet.node.metrics import Labels, Metrics
from hrinet.node.negotiation import CT_CLASSES
from hrinet.node.peers import Peer, PeerDownError
from hrinet.node.queue import Series
from hrinet.node.receiver import Receiver, listen
from hrinet.node.rules import Facts, Rule, choose, spacing_of, waiting
from hrinet.node.store import Store
from hrinet.node.tls import server_tls
from hrinet.node.watch import WebWatch
from hrinet.node.work import Result, Task, Worker

_TICK_S = 0.2
_JANITOR_S = 60.0
_AFTER_ERROR_S = 1.0


class Node:
    """A node over an open store.

    Args:
        config: how it is set up.
        peer: takes the place of the configured peer.
        run: does tasks in place of a child process.

    Raises:
        RequestError: if the store is in use, an address cannot be bound (the store is not made
            then), or certificates cannot be used.
        InputError: if the queue is damaged.
    """

    def __init__(
        self,
        config: NodeConfig,
        *,
        peer: Peer | None = None,
        run: Callable[[Task], Result] | None = None,
    ) -> None:
        self._config = config
        self._peer: Peer | None = peer or config.peer
        self._worker = Worker(timeout_s=config.work_timeout_s, entry=config.work_entry)
        self._run = run or self._worker.run
        self._stopping = threading.Event()
        self._peer_failures = 0
        self._peer_next = 0.0
        self._threads: list[threading.Thread] = []
        self._http: StatusServer | None = None
        self._web: WebWatch | None = None
        self.metrics = Metrics()
        self.metrics.add("start_time_seconds", time.time())
        tls = server_tls(config)
        with ExitStack() as undo:
            # Every address before the store, so that one that is taken leaves nothing behind.
            listener = listen(config.host, config.port)
            undo.callback(listener.close)
            if config.http is not None:
                self._http = StatusServer(
                    host=config.http[0],
                    port=config.http[1],
                    metrics=self.render_metrics,
                    health=self.health,
                )
                undo.callback(self._http.close)
            self.store = Store(config.store, min_free_bytes=config.min_free_bytes)
            undo.callback(self.store.close)
            cleaned = self.store.clean()
            if cleaned:
                LOG.info("removed %d objects that were never acknowledged", cleaned)
            self._committer = Committer(self.store.rows, self.store.objects.root)
            undo.callback(self._committer.close)
            intake = Intake(
                folder=self.store.objects,
                rows=self.store.rows,
                committer=self._committer,
                metrics=self.metrics,
                limits=IntakeLimits(
                    max_object_bytes=config.max_object_bytes,
                    max_queue_bytes=config.max_queue_bytes,
                ),
            )
            self._receiver = Receiver(
                listener=listener,
                terms=Terms(
                    title=config.title,
                    allowed=config.allowed,
                    sop_classes=CT_CLASSES,
                    max_pdu=config.max_pdu,
                    acse_timeout_s=config.acse_timeout_s,
                    network_timeout_s=config.network_timeout_s,
                ),
                intake=intake,
                metrics=self.metrics,
                max_associations=config.max_associations,
                tls=tls,
            )
            if config.watch_web is not None:
                self._web = WebWatch(
                    config=config,
                    server=config.watch_web,
                    store=self.store,
                    intake=intake,
                    metrics=self.metrics,
                    stopping=self._stopping,
                )
            undo.pop_all()

    @property
    def port(self) -> int:
        """The port that associations come in on."""
        return self._receiver.port

    @property
    def http_port(self) -> int | None:
        """The port of metrics and health."""
        return self._http.port if self._http else None

    def start(self) -> None:
        """Begin; what an earlier node left unfinished goes on."""
        steps = [
            ("watch", self._watch, min(_TICK_S, max(self._config.quiet_s / 4, 0.01))),
            ("work", self._work, _TICK_S / 2),
            ("send", self._send, _TICK_S / 2),
            ("janitor", self._tidy, _JANITOR_S),
        ]
        if self._web is not None:
            steps.append(("web", self._web.step, _TICK_S))
        for name, step, pause in steps:
            thread = threading.Thread(
                target=self._repeat, args=(name, step, pause), name=name, daemon=True
            )
            thread.start()
            self._threads.append(thread)
        self._receiver.start()
        if self._http is not None:
            self._http.start()

    def stop(self) -> None:
        """Take in what is on its way, end the work at hand, and close the store."""
        self._receiver.stop(grace_s=self._config.drain_s)
        self._stopping.set()
        self._worker.stop()
        for thread in self._threads:
            thread.join(timeout=self._config.drain_s + 60.0)
        self._committer.close()
        if self._http is not None:
            self._http.close()
        if self._web is not None:
            self._web.close()
        self.store.close()

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether the node does what it should; and details without identifiers."""
        checks = {
            "receiver": self._receiver.is_alive and self._committer.is_alive,
            "threads": all(thread.is_alive() for thread in self._threads),
            "disk": self.store.objects.has_room(),
        }
        details = {
            "checks": checks,
            "peer": "none" if self._peer is None else "down" if self._peer_failures else "up",
            "series": self.store.rows.counts(),
        }
        return all(checks.values()), details

    def render_metrics(self) -> str:
        """The metrics as Prometheus text."""
        none: Labels = ()
        counts = self.store.rows.counts()
        return self.metrics.render(
            {
                "associations_open": {none: self._receiver.open_count},
                "series": {(("state", state),): float(n) for state, n in counts.items()},
                "queue_bytes": {none: float(self.store.rows.unfinished_bytes())},
                "disk_free_bytes": {none: float(self.store.objects.free_bytes())},
                "peer_up": {none: float(not self._peer_failures)},
                "web_up": {none: float(self._web is not None and self._web.is_up)},
            }
        )

    def _repeat(self, name: str, step: Callable[[], bool], pause_s: float) -> None:
        while not self._stopping.is_set():
            try:
                is_more = step()
            except Exception as error:
                # A full disk, say. The step was not committed, so it is done again.
                LOG.error("%s: %s; it is tried again", name, kind_of(error))
                self._stopping.wait(_AFTER_ERROR_S)
                continue
            if not is_more:
                self._stopping.wait(pause_s)

    def _facts(self, series: Series) -> Facts:
        positions, thicknesses = self.store.rows.geometry(series.key)
        return Facts(
            modality=series.modality,
            calling=series.calling,
            description=series.description,
            image_type=series.image_type,
            instances=series.instances,
            spacing_mm=spacing_of(positions),
            thickness_mm=sorted(thicknesses)[len(thicknesses) // 2] if thicknesses else None,
        )

    def _watch(self) -> bool:
        """``receiving -> complete``."""
        for series in self.store.rows.series("receiving"):
            quiet, instances = waiting(self._config.rules, _early_facts(series))
            is_coming, total = self._web.expected(series) if self._web else (False, None)
            waited = time.time() - series.last_received
            is_quiet = waited >= (self._config.quiet_s if quiet is None else quiet)
            has_all = any(n is not None and series.instances >= n for n in (instances, total))
            if ((is_quiet and not is_coming) or has_all) and self.store.rows.advance(
                series, "complete"
            ):
                LOG.info("series %s is complete: %d objects", series.key, series.instances)
        return False

    def _work(self) -> bool:
        """``complete -> synthesized``, ``forwarding``, ``ignored`` or ``dead``."""
        series = self.store.rows.due("complete")
        if series is None:
            return False
        if self.store.rows.is_derived(series.uid):
            self._ignore(series, "it was made by this node")
            return True
        rule, why_not = choose(self._config.rules, self._facts(series))
        if rule is None:
            self._ignore(series, why_not)
        elif rule.action == "ignore":
            self._ignore(series, f"{rule.name}: ignored by rule", rule=rule)
        elif rule.action == "forward":
            if self._peer is None:
                self._ignore(series, f"{rule.name}: there is no peer to forward to", rule=rule)
            else:
                self.store.rows.advance(series, "forwarding", rule=rule.name)
        else:
            self._interpolate(series, rule)
        return True

    def _ignore(self, series: Series, reason: str, *, rule: Rule | None = None) -> None:
        name = rule.name if rule else ""
        if self.store.rows.advance(series, "ignored", rule=name, reason=reason):
            LOG.info("series %s is ignored: %s", series.key, reason)

    def _interpolate(self, series: Series, rule: Rule) -> None:
        started = time.perf_counter()
        source, output = self.store.stage(series)
        output.parent.mkdir()
        derived, uid = "", ""
        try:
            result = self._run(
                Task(
                    input=source,
                    output=output,
                    series=series.uid,
                    options={
                        "method": rule.method,
                        "spacing": rule.spacing,
                        "factor": rule.factor,
                    },
                )
            )
            if result.outcome == "done":
                try:
                    derived, uid = self.store.keep_result(series, output)
                except RunError as error:
                    result = Result("failed", str(error))
        finally:
            self.store.unstage(series)
        seconds = time.perf_counter() - started
        if result.outcome == "stopped":
            return
        self.metrics.add("work_total", outcome=result.outcome)
        self.metrics.add("work_seconds_total", seconds)
        if result.outcome != "done":
            self._fail(series, "work", result.reason, is_final=result.outcome == "refused")
        elif self.store.rows.advance(
            series, "synthesized", rule=rule.name, derived=derived, derived_uid=uid
        ):
            LOG.info("series %s is synthesized in %.1f s", series.key, seconds)
            if series.derived != derived:
                self.store.drop_result(series.derived)
            self.store.exhume(series)
        else:
            self.store.drop_result(derived)
            LOG.info("series %s grew meanwhile; it is done again", series.key)

    def _send(self) -> bool:
        """``synthesized`` or ``forwarding -> sent``, or ``dead``."""
        if time.monotonic() < self._peer_next:
            return False
        rows = self.store.rows
        series = rows.due("synthesized") or rows.due("forwarding")
        if series is None:
            return False
        if self._peer is None:
            return rows.advance(series, "sent", reason="no peer; the result is in the store")
        is_result = series.state == "synthesized"
        paths = self.store.derived_paths(series) if is_result else self.store.object_paths(series)
        started = time.perf_counter()
        outcome = "sent"
        try:
            self._peer.send(paths)
        except PeerDownError as error:
            outcome = "down"
            self._peer_failures += 1
            wait = self._config.backoff(self._peer_failures - 1)
            self._peer_next = time.monotonic() + wait
            LOG.warning("%s; trying again in %.0f s", error, wait)
        except RunError as error:
            outcome = "refused"
            self._fail(series, "send", str(error), is_final=False)
        self.metrics.add("send_total", outcome=outcome)
        self.metrics.add("send_seconds_total", time.perf_counter() - started)
        if outcome == "sent":
            self._peer_failures = 0
            self.metrics.add("objects_sent_total", len(paths))
            if rows.advance(series, "sent"):
                LOG.info("series %s is sent: %d objects", series.key, len(paths))
        return True

    def _fail(self, series: Series, step: str, reason: str, *, is_final: bool) -> None:
        """Try again later, or make a dead letter."""
        if not is_final and series.attempts + 1 < self._config.work_attempts:
            wait = self._config.backoff(series.attempts)
            LOG.warning(
                "series %s: %s failed (%s); again in %.0f s", series.key, step, reason, wait
            )
            self.store.rows.postpone(series, seconds=wait, reason=reason)
            return
        self.store.bury(series, step=step, reason=reason)
        if self.store.rows.advance(series, "dead", reason=reason):
            LOG.error("series %s is a dead letter: %s", series.key, reason)

    def _tidy(self) -> bool:
        """Remove what was sent long ago."""
        if self._web is not None:
            self._web.purge_ignored(seconds=self._config.retain_s)
        if self._peer is not None:
            count = self.store.purge_older(seconds=self._config.retain_s)
            if count:
                LOG.info("removed %d series that were sent long ago", count)
        return False


def _early_facts(series: Series) -> Facts:
    return Facts(
        modality=series.modality,
        calling=series.calling,
        description=series.description,
        image_type=series.image_type,
        instances=series.instances,
        spacing_mm=None,
        thickness_mm=None,
    )
