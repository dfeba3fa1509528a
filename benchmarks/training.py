"""What a step of training costs beyond its convolutions, and what memory it takes.

Run: python benchmarks/training.py [--rounds N] [--only time|kept|memory]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, machine, peak_mb, publish, table
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hrinet.train.batches import Pairs
from hrinet.train.config import TrainConfig, load_config
from hrinet.train.memory import freed_memory_kept
from hrinet.train.steps import Players, d2_step, supervised_step, unsupervised_step

RECIPE = "hrinet-mse"
TIMED_BATCH = 8
PARTS = ("time", "kept", "memory")
BAR = 1.5
LONG_S = 20.0
_FORWARD = torch.ops.aten.convolution.default
_BACKWARD = torch.ops.aten.convolution_backward.default


class Recorder(TorchDispatchMode):
    """Notes every convolution that reaches the kernels, those of backward passes included.

    A gradient penalty differentiates a gradient; what that takes in convolutions arrives here too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (_FORWARD, _BACKWARD):
            self.calls.append((func, tuple(_blank(argument) for argument in args)))
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, slots=True)
class _Blank:
    """A tensor of this layout."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


def _blank(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return _Blank(tuple(argument.shape), argument.stride(), argument.dtype)
    return tuple(argument) if isinstance(argument, list) else argument


class Replay:
    """The recorded convolutions and nothing else, on random numbers."""

    def __init__(self, calls: list[tuple[Any, tuple[Any, ...]]], device: torch.device) -> None:
        self.count = Counter(name_of(func) for func, _ in calls)
        filled: dict[tuple[int, _Blank], Tensor] = {}

        def tensor(place: int, blank: _Blank) -> Tensor:
            key = place, blank
            if key not in filled:
                made = torch.empty_strided(
                    blank.shape, blank.stride, dtype=blank.dtype, device=device
                )
                filled[key] = made.normal_(std=0.02)
            return filled[key]

        self._calls = [
            (
                func,
                [
                    tensor(place, argument) if isinstance(argument, _Blank) else argument
                    for place, argument in enumerate(arguments)
                ],
            )
            for func, arguments in calls
        ]

    @torch.no_grad()
    def __call__(self) -> None:
        """Run them all."""
        for func, arguments in self._calls:
            func(*arguments)


def name_of(func: Any) -> str:
    return "forward" if func is _FORWARD else "backward"


class Bench:
    """A training with made-up slices, one step of each kind."""

    def __init__(self, config: TrainConfig) -> None:
        on_gpu = torch.cuda.is_available()
        torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        self.fabric = Fabric(
            accelerator="cuda" if on_gpu else "cpu",
            devices=1,
            precision="bf16-mixed" if on_gpu else "32-true",
        )
        self.config = config
        self.players = Players.of(config, self.fabric)
        self.players.begin_stage2()
        batch = config.batch // config.accumulate
        rng = torch.Generator().manual_seed(0)

        def images(*shape: int) -> Tensor:
            return torch.rand(*shape, 1, config.size, config.size, generator=rng)

        self.pairs = [
            Pairs(images(batch), images(batch), torch.rand(batch, generator=rng), 1, part * batch)
            for part in range(config.accumulate)
        ]
        self.runs = [images(config.runs, config.run_length)]

    @property
    def kinds(self) -> dict[str, Callable[[], None]]:
        """One step of each kind; the second is five updates of D2 and one of the generator."""
        return {
            "stage 1": self.stage1,
            "stage 2, unsupervised": self.unsupervised,
            "stage 2, supervised": self.supervised,
        }

    def stage1(self) -> None:
        """A step of stage 1."""
        unsupervised_step(self.players, self.pairs, with_d2=False)

    def unsupervised(self) -> None:
        """Step I of Algorithm 1."""
        for _ in range(self.config.d2_steps):
            d2_step(self.players, self.pairs)
        unsupervised_step(self.players, self.pairs, with_d2=True)

    def supervised(self) -> None:
        """Step II of Algorithm 1."""
        supervised_step(self.players, self.runs)


def seconds(run: Callable[[], None]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def ratio_inside(step: Callable[[], None]) -> float:
    """Time of a step over that of the convolutions in the very same step, by the profiler."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        step()
    events = profiler.key_averages()
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    total = "device_time_total" if on_gpu else "cpu_time_total"
    names = ("aten::convolution", "aten::convolution_backward")
    convolutions = sum(getattr(event, total) for event in events if event.key in names)
    return sum(getattr(event, own) for event in events) / convolutions


def ratios(rounds: int) -> list[list[str]]:
    """Every kind of step and its bare convolutions by turns, so that both meet the same noise."""
    bench = Bench(load_config(RECIPE, [f"batch={TIMED_BATCH}"]))
    rows = []
    for name, step in bench.kinds.items():
        with Recorder() as recorder:  # also warms up
            step()
        bare = Replay(recorder.calls, bench.fabric.device)
        bare()
        pairs = []
        # A short step is at the mercy of whatever else runs at that moment, so it is repeated more.
        for _ in range(rounds if seconds(bare) > LONG_S else 5 * rounds):
            pairs.append((seconds(step), seconds(bare)))
            print(name, pairs[-1], file=sys.stderr)
        whole, alone = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        spread = f"{min(a / b for a, b in pairs):.2f} to {max(a / b for a, b in pairs):.2f}"
        images = TIMED_BATCH if "supervised" not in name or "un" in name else 7
        rows.append(
            [
                name,
                f"{whole:.2f}",
                f"{alone:.2f}",
                f"{bare.count['forward']} + {bare.count['backward']}",
                f"{ratio:.2f}",
                spread,
                f"{ratio_inside(step):.2f}",
                f"{images / whole:.1f}",
            ]
        )
    return rows


def with_and_without(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds and page faults of a step of stage 1, freed memory kept, and given back.

    Each in a process of its own, by turns: what was kept once is at hand afterwards.
    """
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    for _ in range(rounds):
        for way, rows in zip(("kept", "given-back"), found, strict=True):
            command = [sys.executable, __file__, "--steps-with", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    kept, given_back = (
        [statistics.median(column) for column in zip(*rows, strict=True)] for rows in found
    )
    return kept, given_back


def steps_with(way: str) -> None:
    """In a process of its own: print median seconds and page faults of a step, as JSON."""
    import resource

    with freed_memory_kept() if way == "kept" else nullcontext():
        bench = Bench(load_config(RECIPE, [f"batch={TIMED_BATCH}"]))
        bench.stage1()
        times, faults = [], []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            times.append(seconds(bench.stage1))
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(json.dumps([statistics.median(times), statistics.median(faults)]))


def memory_of(size: int, stage: int, batch: int, accumulate: int) -> None:
    """In a process of its own: print the peak in MB after a step, as JSON."""
    # One update of D2 has the peak of five.
    changes = [f"size={size}", f"batch={batch}", f"accumulate={accumulate}", "d2_steps=1"]
    bench = Bench(load_config(RECIPE, changes))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    for name, step in bench.kinds.items():
        if name.startswith(f"stage {stage}"):
            step()
    peak = peak_mb()
    found = {"peak_mb": peak}
    if torch.cuda.is_available():
        found["gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(found))


def limit_memory() -> None:
    """Let an allocation fail in this process rather than the machine run out."""
    import resource

    text = Path("/proc/meminfo").read_text()
    free = next(int(line.split()[1]) for line in text.splitlines() if "MemAvailable" in line)
    most = int(free * 1024 * 0.7)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def memory_rows(sizes: list[int]) -> list[list[str]]:
    """The default batch as a whole, and divided, until it fits."""
    rows = []
    default = TrainConfig().batch
    for size in sizes:
        for stage in (1, 2):
            for accumulate in (1, 2, 4, 8, 16):
                here = ["--memory-of", *map(str, (size, stage, default, accumulate))]
                done = subprocess.run(
                    [sys.executable, __file__, *here], capture_output=True, text=True
                )
                label = f"{size} x {size}, stage {stage}"
                cut = f"{default} / {accumulate}"
                print(label, cut, done.stdout.strip(), done.stderr[-300:], file=sys.stderr)
                if done.returncode == 0:
                    found = json.loads(done.stdout.splitlines()[-1])
                    gpu = [f"{found['gpu_mb']:.0f}"] if "gpu_mb" in found else []
                    rows.append([label, cut, f"{found['peak_mb']:.0f}", *gpu])
                    if accumulate > 1 or size == sizes[0]:
                        break
                elif "memory" in done.stderr:
                    rows.append([label, cut, "does not fit", *rows[-1][3:]])
                else:
                    sys.exit(done.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, help="keep the others' last result")
    parser.add_argument("--steps-with", choices=("kept", "given-back"), help=argparse.SUPPRESS)
    parser.add_argument("--memory-of", nargs=4, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps_with:
        steps_with(arguments.steps_with)
        return
    if arguments.memory_of:
        if not torch.cuda.is_available():
            limit_memory()
        with freed_memory_kept():
            memory_of(*arguments.memory_of)
        return
    on = f"{torch.cuda.get_device_name()}, bf16" if torch.cuda.is_available() else "CPU, float32"
    where = (
        f"Machine: {machine()}, torch {torch.__version__} on {on}, {torch.get_num_threads()} "
        f"threads. Command: `{' '.join(['python benchmarks/training.py', *sys.argv[1:]])}`."
    )
    store = RESULTS / "training.json"
    parts: dict[str, str] = json.loads(store.read_text()) if store.exists() else {}
    if arguments.only in (None, "time"):
        parts["time"] = time_text(where, arguments.rounds)
    if arguments.only in (None, "kept"):
        parts["kept"] = kept_text(where, arguments.rounds)
    if arguments.only in (None, "memory"):
        parts["memory"] = memory_text(where)
    RESULTS.mkdir(exist_ok=True)
    store.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    texts = [parts[name] for name in PARTS if name in parts]
    publish("training", "\n\n".join(["# Training", *texts]))


def time_text(where: str, rounds: int) -> str:
    head = (
        *("step", "s", "bare convolutions, s", "calls forward + backward", "ratio"),
        *("lowest to highest", "ratio within a step", "images a second"),
    )
    with freed_memory_kept():
        timed = ratios(rounds)
    return "\n".join(
        [
            f"## Time of a step beside its convolutions ({RECIPE}, 256 x 256, batch {TIMED_BATCH})",
            "",
            where,
            "",
            "A step of each kind runs once while every convolution that reaches the kernels is "
            "noted: forward, backward, and those of the gradient penalty's double backward. The "
            "same calls on tensors of the same shapes and layouts, and nothing else, are the bare "
            f"convolutions. Both run by turns, {rounds} times (short steps {5 * rounds}), for "
            "other work goes on on the machine; medians. An unsupervised step of stage 2 holds "
            "five updates of D2; a supervised one has one run of 7 slices. Reading of "
            "scans is not part of it. The ratio within a step is by the profiler, all time over "
            "that of the convolutions in the same "
            f"step, and suffers least from other work. Bar: a ratio of {BAR} at most.",
            "",
            table(head, timed),
            "",
            "All of this with freed memory kept by the process, as in training "
            "(`hrinet.train.memory`), the bare convolutions too.",
        ]
    )


def kept_text(where: str, rounds: int) -> str:
    ways = ("kept, as in training", "given back to the system")
    return "\n".join(
        [
            f"## Freed memory kept (stage 1, 256 x 256, batch {TIMED_BATCH})",
            "",
            where,
            "",
            f"Each in processes of its own, by turns, {rounds} of 5 steps; medians.",
            "",
            table(
                ("freed memory", "s a step", "page faults a step"),
                [
                    [way, f"{found[0]:.2f}", f"{found[1]:.0f}"]
                    for way, found in zip(ways, with_and_without(rounds), strict=True)
                ],
            ),
        ]
    )


def memory_text(where: str) -> str:
    gpu = ("GPU, MB",) if torch.cuda.is_available() else ()
    return "\n".join(
        [
            "## Memory",
            "",
            where,
            "",
            "Peak resident size of a process that does one step of each kind of the stage "
            f"(`VmHWM`, interpreter and libraries included), {RECIPE}, at the default batch of "
            f"{TrainConfig().batch} pairs, and divided by `accumulate`, which leaves the result "
            "the same.",
            "",
            table(("training", "batch / accumulate", "peak MB", *gpu), memory_rows([256, 512])),
        ]
    )


if __name__ == "__main__":
    main()
