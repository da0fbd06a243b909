"""What both trainers share: runs that stop and resume at any moment, averages, logs, sheets."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import signal
import time
from pathlib import Path
from typing import Any, Iterator, Sequence, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist

Network = TypeVar("Network", bound=nn.Module)


class Devices:
    """Where this process computes, and how it agrees with the others that torchrun started."""

    def __init__(self, precision: str) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        cuda = torch.cuda.is_available()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device("cuda", local) if cuda else torch.device("cpu")
        self.precision = precision
        if self.count > 1:
            dist.init_process_group("nccl" if cuda else "gloo")

    def autocast(self) -> Any:
        """bfloat16 where asked for; float32 otherwise."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def say(self, line: str) -> None:
        """Print a line once, however many processes there are."""
        if self.rank == 0:
            print(line, flush=True)

    def add(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over the processes."""
        if self.count > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def copy_first(self, *tensors: Tensor) -> None:
        """Give all processes the first one's tensors."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def largest(self, *numbers: float) -> list[float]:
        """The largest value that any process has, number by number."""
        if self.count == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def share_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Average the gradients over the processes, in one message."""
        if self.count > 1:
            grads = [p.grad for p in parameters if p.grad is not None]
            whole = torch.cat([g.flatten() for g in grads])
            dist.all_reduce(whole)
            whole /= self.count
            for grad, part in zip(grads, whole.split([g.numel() for g in grads])):
                grad.copy_(part.view_as(grad))


class Average:
    """Running average of a network's tensors; what is kept in the end."""

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        self.decay, self.steps = decay, 0
        self.shadow = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step towards the network's tensors, larger ones at first."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 20.0))
        now = model.state_dict()
        moving = [k for k, v in now.items() if v.is_floating_point()]
        torch._foreach_lerp_(
            [self.shadow[k] for k in moving], [now[k] for k in moving], 1.0 - decay
        )

    @contextlib.contextmanager
    def applied(self, model: Network) -> Iterator[Network]:
        """Lend the averages to the network for a while."""
        own = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(self.shadow)
        try:
            yield model
        finally:
            model.load_state_dict(own)


class Run:
    """A training run in a folder: its progress, its log, its checkpoint."""

    def __init__(self, out: Path, steps: int, minutes: float | None, devices: Devices) -> None:
        self.out, self.steps, self.minutes, self.devices = Path(out), steps, minutes, devices
        self.out.mkdir(parents=True, exist_ok=True)
        self.step, self.seconds = 0, 0.0
        self.stopped = self._asked = False
        self._clock = time.monotonic()
        self._sums: dict[str, list[float]] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, *_: object) -> None:
        self._asked = True

    @property
    def last(self) -> Path:
        """The checkpoint that a later call resumes from."""
        return self.out / "last.ckpt"

    @property
    def progress(self) -> float:
        """Part of the work done, 0 to 1, by steps or by time, whichever is further."""
        by_time = self.seconds / (60.0 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(self.step / self.steps, by_time))

    @property
    def going(self) -> bool:
        """Whether to take another step."""
        return self.progress < 1.0 and not self.stopped

    def start(self) -> None:
        """Begin to count time; what came before was preparation."""
        self._clock = time.monotonic()

    def learning_rate(self, top: float, warm: int = 200) -> float:
        """Warm up, hold, then fall to a twentieth along a cosine."""
        fall = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * max(0.0, self.progress - 0.2) / 0.8))
        return top * min(1.0, (self.step + 1) / warm) * fall

    def count(self, **numbers: float) -> None:
        """Finish a step; the numbers go into the means of the next line of the log."""
        self.step += 1
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        self.seconds, stopped = self.devices.largest(self.seconds, float(self._asked))
        self.stopped = stopped > 0  # all processes leave the loop at the same step
        for name, number in numbers.items():
            self._sums.setdefault(name, []).append(float(number))

    def log(self) -> str:
        """Write the means since the last call to log.csv and curves.png; return them as text."""
        row = {"step": self.step, "seconds": round(self.seconds, 1)}
        row.update({k: round(float(np.mean(v)), 5) for k, v in self._sums.items()})
        self._sums = {}
        if self.devices.rank == 0:
            _append(self.out / "log.csv", row)
            _draw_curves(self.out / "log.csv", self.out / "curves.png")
        return "  ".join(f"{k} {v:g}" for k, v in row.items())

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint whole or not at all."""
        if self.devices.rank == 0:
            state = {**state, "step": self.step, "seconds": self.seconds}
            state["torch_rng"] = torch.get_rng_state()
            part = self.last.with_suffix(".part")
            torch.save(state, part)
            os.replace(part, self.last)

    def resume(self) -> dict[str, Any] | None:
        """Read the checkpoint if there is one."""
        if not self.last.is_file():
            return None
        state = torch.load(self.last, map_location=self.devices.device, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        torch.set_rng_state(state["torch_rng"].cpu())
        self._clock = time.monotonic()
        return state


def _append(path: Path, row: dict[str, float]) -> None:
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if int(r["step"]) < row["step"]]
    names = list(dict.fromkeys([k for r in [*rows, row] for k in r]))
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows([*rows, row])
    os.replace(part, path)


def _draw_curves(log: Path, out: Path, wide: int = 320, high: int = 180) -> None:
    """Draw every column of a log against the steps, one small plot each, four in a row."""
    from PIL import Image, ImageDraw

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [n for n in rows[-1] if n not in ("step", "seconds")]
    page = Image.new("RGB", (4 * wide, -(-len(names) // 4) * high), "white")
    draw = ImageDraw.Draw(page)
    for i, name in enumerate(names):
        points = [(int(r["step"]), float(r[name])) for r in rows if r.get(name)]
        left, top = i % 4 * wide, i // 4 * high
        low, least = points[0][0], min(y for _, y in points)
        span = max(max(x for x, _ in points) - low, 1)
        rise = max(max(y for _, y in points) - least, 1e-9)
        across = [left + 12 + (wide - 24) * (x - low) / span for x, _ in points]
        up = [top + high - 12 - (high - 40) * (y - least) / rise for _, y in points]
        line = list(zip(across, up))
        text = f"{name}: {points[-1][1]:g} (from {least:g} to {least + rise:g})"
        draw.text((left + 12, top + 6), text, fill="black")
        draw.line(line if len(line) > 1 else line * 2, fill=(200, 60, 40), width=2)
    page.save(out)


def save_sheet(path: Path, rows: Sequence[np.ndarray]) -> None:
    """Write rows of pictures, each (n, H, W, 3) uint8, as one PNG."""
    from PIL import Image

    lines = [np.concatenate(list(row), axis=1) for row in rows]
    width = max(line.shape[1] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0))) for line in lines]
    Image.fromarray(np.concatenate(lines, axis=0)).save(path)


def to_pictures(x: Tensor) -> np.ndarray:
    """(B, 1 or 3, H, W) in [-1, 1] to (B, H, W, 3) uint8."""
    x = ((x.detach().float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().byte().cpu()
    return x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def seeded(seed: int, devices: Devices, step: int = 0) -> np.random.Generator:
    """Seed torch; return a generator for the data, another for each process and resumption."""
    torch.manual_seed(seed * 1000 + devices.rank)
    return np.random.default_rng([seed, devices.rank, step])


def export(path: Path, state: dict[str, Tensor], configs: dict[str, Any]) -> None:
    """Write a finished network as {"state_dict", "configs"}, with the original's names."""
    part = Path(path).with_suffix(".part")
    kept = {k: v.detach().float().cpu().contiguous() for k, v in state.items()}
    torch.save({"state_dict": kept, "configs": configs}, part)
    os.replace(part, path)
