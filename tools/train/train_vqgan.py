"""Train a VQGAN on pictures, label maps or depth maps.

    python tools/train/train_vqgan.py --out runs/image --pack runs/scenes --photos photos/
    python tools/train/train_vqgan.py --out runs/labels --pack runs/scenes --kind labels

The run may be stopped at any moment; the same command goes on from there. At the end `model.ckpt`
holds the averaged network. Several GPUs, or one process for each core that others use too:
`torchrun --nproc-per-node=N tools/train/train_vqgan.py ...`; the batch is each process's own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common import Average, Devices, Run, export, save_sheet, seeded, to_pictures
from feed import Feed
from losses import FilterLoss, PatchDiscriminator, adaptive_weight, hinge, matching
from nets import VQGANConfig, VQModel
from scenes import LABEL_COLOURS, LABELS


def parse() -> argparse.Namespace:
    """Read the command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, required=True, help="folder of the run")
    p.add_argument("--pack", type=Path, required=True, help="pack made by data.py")
    p.add_argument("--kind", choices=("images", "labels", "depth"), default="images")
    p.add_argument("--photos", type=Path, help="folder of photographs to mix in")
    p.add_argument("--photo-share", type=float, default=0.3)
    p.add_argument("--n-labels", type=int, default=len(LABELS))
    p.add_argument("--size", type=int, default=128, help="nominal side of the pictures")
    p.add_argument(
        "--crop", type=int, nargs="+", help="sides of the training squares, drawn by lot; the "
        "batch is of the first. A network trained on smaller pictures than it is used for shifts "
        "their colours, since GroupNorm and attention span the picture",
    )  # fmt: skip
    p.add_argument("--ch", type=int, default=32)
    p.add_argument("--ch-mult", type=int, nargs="+", default=(1, 1, 2, 4))
    p.add_argument("--num-res-blocks", type=int, default=1)
    p.add_argument("--attn-resolutions", type=int, nargs="*", default=(16,))
    p.add_argument("--z-channels", type=int, default=64)
    p.add_argument("--levels", type=int, nargs="+", default=(8, 8, 6, 5), help="of the codes")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--lr", type=float, default=6e-4)
    p.add_argument("--steps", type=int, default=10000)
    p.add_argument("--minutes", type=float, help="stop after this time, counted over resumptions")
    p.add_argument("--free-steps", type=int, default=300, help="steps before the codebook starts")
    p.add_argument("--gan-from", type=float, default=0.7, help="part of the run; 1 for none")
    p.add_argument("--gan-weight", type=float, default=0.8)
    p.add_argument("--match-weight", type=float, default=0.5, help="of the judge's features")
    p.add_argument("--precision", choices=("bf16", "float32"), default="bf16")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--log-every", type=int, default=100)
    p.add_argument("--save-every", type=int, default=500)
    return p.parse_args()


class Trainer:
    """A VQGAN, its discriminator and their optimizers."""

    def __init__(self, args: argparse.Namespace, run: Run, devices: Devices) -> None:
        self.args, self.run, self.devices = args, run, devices
        channels = {"images": 3, "labels": args.n_labels, "depth": 1}[args.kind]
        self.config = VQGANConfig(
            args.ch, tuple(args.ch_mult), args.num_res_blocks, tuple(args.attn_resolutions),
            args.z_channels, args.size, channels, channels, tuple(args.levels),
        )  # fmt: skip
        self.model = VQModel(self.config).to(devices.device)
        self.judge = PatchDiscriminator(channels).to(devices.device)
        self.filters = FilterLoss(channels).to(devices.device)
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.opt = torch.optim.Adam(self.weights, betas=(0.8, 0.98), fused=True)
        self.judge_opt = torch.optim.Adam(self.judge.parameters(), betas=(0.5, 0.9), fused=True)
        self.average = Average(self.model)
        self.settled = False

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.model.state_dict(), "judge": self.judge.state_dict(),
            "opt": self.opt.state_dict(), "judge_opt": self.judge_opt.state_dict(),
            "average": self.average.shadow, "average_steps": self.average.steps,
            "settled": self.settled, "configs": {"model": self.config.as_dict()},
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.judge.load_state_dict(state["judge"])
        self.opt.load_state_dict(state["opt"])
        self.judge_opt.load_state_dict(state["judge_opt"])
        self.settled = state.get("settled", False)
        self.average.shadow, self.average.steps = state["average"], state["average_steps"]

    def quantized(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quantize latents (B, embed_dim, h, w), with the gradient of a copy; and the indices.

        In the first steps noise as wide as a code's cell stands in for the codebook: the latents
        spread over all the levels in order to be heard.
        """
        book = self.model.quantize
        indices = book.nearest(z)
        if self.run.step < self.args.free_steps:
            inside = torch.maximum(torch.minimum(z, book.reach), -book.reach)
            return inside + torch.rand_like(z) - 0.5, indices
        return z + (book(indices) - z).detach(), indices

    def train(self, feed: Feed) -> dict[str, float]:
        """Train on the next batch."""
        if self.run.progress >= self.args.gan_from and not self.settled:
            self.settle(feed)
        return self.step(feed.batch(self.args.batch).to(self.devices.device))

    @torch.no_grad()
    def settle(self, feed: Feed, batches: int = 80) -> None:
        """Keep the averaged encoder as it is and fit the codes to it.

        From here on the decoder alone learns, against the discriminator, and the codes that a
        transformer learns from do not change any more.
        """
        self.model.load_state_dict(self.average.shadow)
        latents = []
        for _ in range(batches):
            x = feed.batch(self.args.batch).to(self.devices.device)
            with self.devices.autocast():
                latents.append(self.model.latent(x).float().permute(0, 2, 3, 1).flatten(0, 2))
        book = self.model.quantize
        book.fit(torch.cat(latents))
        self.devices.copy_first(book.embedding.weight.data)
        self.average.shadow["quantize.embedding.weight"] = book.embedding.weight.clone()
        self.settled = True
        if self.devices.rank == 0:
            sizes = {"model": self.config.as_dict()}
            export(self.run.out / "settled.ckpt", self.average.shadow, sizes)

    def step(self, x: Tensor) -> dict[str, float]:
        """Train on one batch."""
        lr = self.run.learning_rate(self.args.lr)
        with self.devices.autocast(), torch.set_grad_enabled(not self.settled):
            z = self.model.latent(x)
        z = z.float()
        outside = F.relu(z.abs() - self.model.quantize.reach - 0.5).square().mean()
        z, used = self.quantized(z)
        with self.devices.autocast():
            y = self.model.decode(z)
        y = y.float()
        rec = self.reconstruction(x, y)
        loss = rec + outside
        share = torch.bincount(used.flatten(), minlength=self.config.n_embed) / used.numel()
        perplexity = torch.exp(-(share * (share + 1e-9).log()).sum())
        numbers = {"rec": rec, "outside": outside, "perplexity": perplexity}
        if self.run.progress >= self.args.gan_from:
            with self.devices.autocast():
                real, fake = self.judge.features(x), self.judge.features(y)
            gan, match = -fake[-1].float().mean(), matching(real, fake)
            weight = adaptive_weight(rec, gan, self.model.decoder.conv_out.weight)
            loss = loss + self.args.gan_weight * weight * gan + self.args.match_weight * match
            numbers.update(gan=gan, match=match)
        self.update(self.opt, loss, self.weights, lr)
        if self.run.progress >= self.args.gan_from - 0.02:
            numbers["judge"] = self.train_judge(x, y.detach(), lr)
        self.average.update(self.model)
        return {"lr": lr, **{k: v.detach().item() for k, v in numbers.items()}}

    def reconstruction(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of outputs `y` for inputs `x`."""
        if self.args.kind == "labels":
            return F.cross_entropy(y, x.argmax(1))
        return (x - y).abs().mean() + self.filters(x, y)

    def train_judge(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        """Train the discriminator on one batch."""
        with self.devices.autocast():
            real, fake = self.judge(x), self.judge(y)
        loss = hinge(real.float(), fake.float())
        self.update(self.judge_opt, loss, list(self.judge.parameters()), lr * 6.0)
        return loss.detach()

    def update(self, opt: torch.optim.Optimizer, loss: Tensor, weights: list, lr: float) -> None:
        """Take one step of an optimizer."""
        opt.param_groups[0]["lr"] = lr
        opt.zero_grad(set_to_none=True)
        loss.backward()
        self.devices.share_gradients(weights)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        opt.step()

    @torch.no_grad()
    def report(self, x: Tensor) -> None:
        """Write a sheet of inputs over outputs, and log the averaged network's figures."""
        with self.average.applied(self.model) as model:
            indices = model.codes(x)
            y = model.decode_codes(indices)
        if self.args.kind == "labels":
            colours = torch.from_numpy(LABEL_COLOURS)
            rows = [colours[m.argmax(1).cpu()].numpy() for m in (x, y)]
        else:
            rows = [to_pictures(x), to_pictures(y)]
        save_sheet(self.run.out / "sheet.png", rows)


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
    feed = Feed(args, rng)
    shown = feed.batch(args.batch).to(devices.device)
    run.start()
    while run.going:
        run.count(**trainer.train(feed))
        if run.step % args.log_every == 0:
            devices.say(run.log())
        if run.step % args.save_every == 0:
            run.save(trainer.parts())
            if devices.rank == 0:
                trainer.report(shown)
    run.save(trainer.parts())
    if devices.rank == 0 and not run.stopped:
        trainer.report(shown)
        export(run.out / "model.ckpt", trainer.average.shadow, {"model": trainer.config.as_dict()})
    devices.say("stopped" if run.stopped else "done")


if __name__ == "__main__":
    main()
