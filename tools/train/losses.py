"""What a VQGAN is trained against: pixels, a bank of fixed filters, a patch discriminator."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _filters(channels: int) -> Tensor:
    """Eight 5x5 filters, (8 * channels, 1, 5, 5): edges and lines in four directions."""
    axis = torch.arange(-2.0, 3.0)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    bell = torch.exp(-(x * x + y * y) / 2.0)
    bank = []
    for i in range(4):
        u = x * math.cos(i * math.pi / 4) + y * math.sin(i * math.pi / 4)
        for f in (u * bell, (u * u - 1.0) * bell):
            f = f - f.mean()
            bank.append(f / f.abs().sum())
    return torch.stack(bank)[:, None].repeat(channels, 1, 1, 1)


class FilterLoss(nn.Module):
    """Compare pictures by edges and lines at several scales: where they are and how strong.

    In place of a perceptual network: no weights to be had. The strength over a neighbourhood is
    compared apart from the place, so that texture counts even where its phase is lost.
    """

    def __init__(self, channels: int, scales: int = 3) -> None:
        super().__init__()
        self.channels, self.scales = channels, scales
        self.register_buffer("bank", _filters(channels), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean difference of two batches (B, channels, H, W)."""
        loss = x.new_zeros(())
        both = torch.cat([x, y])
        for _ in range(self.scales):
            r = F.conv2d(F.pad(both, (2, 2, 2, 2), mode="reflect"), self.bank, groups=self.channels)
            a, b = r.chunk(2)
            loss = loss + 2.0 * (a - b).abs().mean()
            strong_a, strong_b = (F.avg_pool2d(s, 4) for s in r.abs().chunk(2))
            loss = loss + 2.0 * (strong_a - strong_b).abs().mean()
            both = F.avg_pool2d(both, 2)
        return loss / self.scales


class PatchDiscriminator(nn.Module):
    """Judge overlapping patches: (B, channels, H, W) to one number each."""

    def __init__(self, channels: int, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        now = width
        for i in range(1, layers + 1):
            then = min(width * 2**i, width * 4)
            stride = 2 if i < layers else 1
            parts += [nn.Conv2d(now, then, 4, stride, 1), nn.GroupNorm(8, then), nn.LeakyReLU(0.2)]
            now = then
        self.main = nn.Sequential(*parts, nn.Conv2d(now, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on (B, C, H, W)."""
        return self.features(x)[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the layers, after their activations; the last are the judgements."""
        found = []
        for layer in self.main:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return [*found, x]


def matching(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Mean difference of a discriminator's features, the judgements left out.

    Source: Wang et al. 2018, High-Resolution Image Synthesis with Conditional GANs, section 3.2.
    """
    pairs = list(zip(real, fake))[:-1]
    return torch.stack([(a.detach().float() - b.float()).abs().mean() for a, b in pairs]).mean()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())


def adaptive_weight(rec: Tensor, gan: Tensor, last: Tensor, most: float = 1e4) -> Tensor:
    """Weigh the GAN's loss so that both losses pull the last layer equally hard.

    Source: VQLPIPSWithDiscriminator.calculate_adaptive_weight of the original.
    """
    g_rec = torch.autograd.grad(rec, last, retain_graph=True)[0]
    g_gan = torch.autograd.grad(gan, last, retain_graph=True)[0]
    return (g_rec.norm() / (g_gan.norm() + 1e-4)).clamp(0.0, most).detach()
