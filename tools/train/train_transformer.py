"""Train a transformer on the codes of trained VQGANs.

    python tools/train/train_transformer.py --out runs/seg --task segmentation --pack runs/scenes \
        --first-stage runs/image/model.ckpt --cond-stage runs/labels/model.ckpt
    python tools/train/train_transformer.py --out runs/class --task class --pack runs/scenes \
        --first-stage runs/image/model.ckpt --minutes 30

Tasks: segmentation and depth (a VQGAN's codes of the map come first), class (one token: class k of
the pack is token k + 1, and token 0 means any class, so the same network is an unconditional one
that starts from 0), unconditional (token 0 always). Pictures are encoded once, mirrored too. The
run may be stopped at any moment; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from codes import MAPS, Sequences, load_vqgan
from common import Average, Devices, Run, export, save_sheet, seeded, to_pictures
from gpt import GPT, GPTConfig, generate
from nets import VQModel
from scenes import LABEL_COLOURS
from ship import load as load_run
from ship import part


def parse() -> argparse.Namespace:
    """Read the command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, required=True, help="folder of the run")
    p.add_argument(
        "--task", choices=("segmentation", "depth", "class", "unconditional"), required=True
    )
    p.add_argument("--pack", type=Path, required=True, help="pack made by data.py")
    p.add_argument("--held-out", type=Path, help="pack to measure on")
    p.add_argument("--first-stage", type=Path, required=True, help="model.ckpt of the VQGAN")
    p.add_argument("--cond-stage", type=Path, help="model.ckpt of the map VQGAN")
    p.add_argument("--init", type=Path, help="run or model.ckpt of a transformer to start from")
    p.add_argument("--limit", type=int, default=1 << 30, help="use this many pictures of the pack")
    p.add_argument("--n-layer", type=int, default=6)
    p.add_argument("--n-head", type=int, default=6)
    p.add_argument("--n-embd", type=int, default=192)
    p.add_argument("--dropout", type=float, default=0.0)
    p.add_argument("--free-share", type=float, default=0.15, help="class: part trained as any")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--steps", type=int, default=10000)
    p.add_argument("--minutes", type=float, help="stop after this time, counted over resumptions")
    p.add_argument("--precision", choices=("bf16", "float32"), default="bf16")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--log-every", type=int, default=50)
    p.add_argument("--save-every", type=int, default=300)
    args = p.parse_args()
    if args.task in MAPS and args.cond_stage is None:
        p.error(f"--task {args.task} needs --cond-stage, the model.ckpt of a map VQGAN")
    return args


def loss_of(model: GPT, c: Tensor, z: Tensor, devices: Devices) -> Tensor:
    """Mean negative log-likelihood of the image tokens."""
    with devices.autocast():
        logits = model(torch.cat([c, z[:, :-1]], 1), keep=z.shape[1])
    return F.cross_entropy(logits.float().flatten(0, 1), z.flatten())


class Trainer:
    """A transformer and its optimizer."""

    def __init__(self, args: argparse.Namespace, run: Run, devices: Devices) -> None:
        self.args, self.run, self.devices = args, run, devices
        self.first = load_vqgan(args.first_stage, devices.device)
        self.cond = load_vqgan(args.cond_stage, devices.device) if args.task in MAPS else None
        self.train = Sequences(args, devices, args.pack, "train")
        held = args.held_out or args.pack
        self.held = Sequences(args, devices, held, "held") if args.held_out else self.train
        tokens = self.train.z.shape[1]
        block = tokens + (self.train.c.shape[1] if args.task in MAPS else 0)
        vocab = max(self.first.config.n_embed, self.cond.config.n_embed if self.cond else 0)
        self.config = GPTConfig(vocab, block, args.n_layer, args.n_head, args.n_embd)
        self.model = GPT(self.config, args.dropout).to(devices.device)
        if args.init is not None and not run.last.is_file():
            self.start_from(args.init)
        self.weights = list(self.model.parameters())
        matrices = [p for p in self.weights if p.dim() == 2]
        others = [p for p in self.weights if p.dim() != 2]
        decayed = {"params": matrices, "weight_decay": 0.01}
        kept = {"params": others, "weight_decay": 0.0}
        self.opt = torch.optim.AdamW([decayed, kept], betas=(0.9, 0.95), fused=True)
        if devices.rank == 0:  # what ship.py compares later VQGANs with
            shutil.copyfile(args.first_stage, run.out / "first_stage.ckpt")
        self.average = Average(self.model, 0.995)

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.model.state_dict(), "opt": self.opt.state_dict(),
            "average": self.average.shadow, "average_steps": self.average.steps,
            "configs": {"transformer": self.config.as_dict()},
        }  # fmt: skip

    def start_from(self, path: Path) -> None:
        """Begin with another task's transformer: positions are counted from their ends."""
        state = part(
            load_run(path)[0]
            if path.is_dir()
            else torch.load(path, weights_only=True)["state_dict"],
            "transformer.",
        )
        block = self.config.block_size
        if state["pos_emb"].shape[1] > block:  # a shorter condition; the last place is never fed
            state["pos_emb"] = state["pos_emb"][:, -block - 1 : -1]
        self.model.load_state_dict(state)

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.opt.load_state_dict(state["opt"])
        self.average.shadow, self.average.steps = state["average"], state["average_steps"]

    def step(self, c: Tensor, z: Tensor) -> dict[str, float]:
        """Train on one batch."""
        lr = self.run.learning_rate(self.args.lr)
        for group in self.opt.param_groups:
            group["lr"] = lr
        loss = loss_of(self.model, c, z, self.devices)
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        self.devices.share_gradients(self.weights)
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.opt.step()
        self.average.update(self.model)
        return {"loss": loss.item(), "lr": lr}

    @torch.no_grad()
    def report(self, n: int = 8) -> float:
        """Write a sheet of conditions, samples and truths; return the held-out loss."""
        rng = np.random.default_rng(1)
        with self.average.applied(self.model) as model:
            model.eval()
            losses = [
                loss_of(model, *self.held.batch(rng, 16), self.devices).item() for _ in range(4)
            ]
            c, z = self.held.tensor(self.held.c[:n]), self.held.tensor(self.held.z[:n])
            with self.devices.autocast():
                drawn = generate(model, c, z.shape[1], top_k=100, top_p=0.95)
            model.train()
        rows = [self.pictures(self.first, drawn), self.pictures(self.first, z)]
        if self.cond is not None:
            rows = [self.pictures(self.cond, c), *rows]
        save_sheet(self.run.out / "sheet.png", rows)
        return float(np.mean(losses))

    def pictures(self, vqgan: VQModel, codes: Tensor) -> np.ndarray:
        """Decode codes (B, tokens) of square pictures or maps."""
        side = int(codes.shape[1] ** 0.5)
        y = vqgan.decode_codes(codes.view(-1, side, side))
        if y.shape[1] in (1, 3):
            return to_pictures(y)
        colours = np.resize(LABEL_COLOURS, (y.shape[1], 3))
        return colours[y.argmax(1).cpu().numpy()]

    def export(self) -> None:
        """Write the averaged transformer together with the networks it works with."""
        state = {f"transformer.{k}": v for k, v in self.average.shadow.items()}
        configs = {"transformer": self.config.as_dict(), "first_stage": self.first.config.as_dict()}
        state.update({f"first_stage_model.{k}": v for k, v in self.first.state_dict().items()})
        if self.cond is not None:
            state.update({f"cond_stage_model.{k}": v for k, v in self.cond.state_dict().items()})
            configs["cond_stage"] = self.cond.config.as_dict()
        export(self.run.out / "model.ckpt", state, configs)


def main() -> None:
    """Train."""
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    devices = Devices(args.precision)
    run = Run(args.out, args.steps, args.minutes, devices)
    torch.manual_seed(args.seed)
    trainer = Trainer(args, run, devices)
    state = run.resume()
    rng = seeded(args.seed, devices, state["step"] if state else 0)
    if state:
        trainer.load(state)
        devices.say(f"resumed at step {run.step}")
    run.start()
    while run.going:
        run.count(**trainer.step(*trainer.train.batch(rng, args.batch)))
        if run.step % args.log_every == 0:
            devices.say(run.log())
        if run.step % args.save_every == 0:
            run.save(trainer.parts())
            if devices.rank == 0:
                devices.say(f"held-out loss {trainer.report():.4f}")
    run.save(trainer.parts())
    if devices.rank == 0 and not run.stopped:
        devices.say(f"held-out loss {trainer.report():.4f}")
        trainer.export()
    devices.say("stopped" if run.stopped else "done")


if __name__ == "__main__":
    main()
