"""Configurations of the networks: frozen data under the original's YAML keys, checked when made."""

from __future__ import annotations

from dataclasses import dataclass

CONDITIONS = (
    "unconditional",
    "class",
    "coordinates",
    "depth",
    "segmentation",
    "scene_layout",
)


def _require_positive(owner: str, **values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner}.{name} must be a whole number >= 1, got {value!r}")


@dataclass(frozen=True)
class DDConfig:
    """Shape of a convolutional encoder and decoder (``ddconfig`` in the original's YAML).

    Attributes:
        ch: Channels at the finest level; level ``i`` has ``ch * ch_mult[i]``.
        ch_mult: Channel factor of each level; every level but the last halves the picture.
        num_res_blocks: Residual blocks a level in the encoder (the decoder has one more).
        attn_resolutions: Nominal resolutions, counted from ``resolution``, that get attention.
        z_channels: Channels of the latent before ``quant_conv``.
        resolution: Nominal side in pixels; other sizes run too, attention stays where it is.
        in_channels: Channels of the picture that goes in.
        out_ch: Channels of the picture that comes out.
        double_z: Kept for pasting YAML; must be ``False`` (there is no KL model here).
        dropout: Kept for pasting YAML; inference drops nothing.
        attn_type: ``"vanilla"``, or ``"none"`` for latent-diffusion's model without attention.

    Raises:
        ValueError: A field is out of range or two fields contradict each other.
    """

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    z_channels: int = 256
    resolution: int = 256
    in_channels: int = 3
    out_ch: int = 3
    double_z: bool = False
    dropout: float = 0.0
    attn_type: str = "vanilla"

    def __post_init__(self) -> None:
        """Check ranges and relations."""
        _require_positive(
            "DDConfig",
            ch=self.ch,
            num_res_blocks=self.num_res_blocks,
            z_channels=self.z_channels,
            resolution=self.resolution,
            in_channels=self.in_channels,
            out_ch=self.out_ch,
        )
        if not self.ch_mult or any(m < 1 for m in self.ch_mult):
            raise ValueError(f"DDConfig.ch_mult must hold factors >= 1, got {self.ch_mult!r}")
        if self.ch % 32:
            raise ValueError(f"DDConfig.ch must be a multiple of 32 (GroupNorm), got {self.ch}")
        if self.double_z:
            raise ValueError("DDConfig.double_z must be False: KL autoencoders are not supported")
        if self.attn_type not in ("vanilla", "none"):
            raise ValueError(f"DDConfig.attn_type must be vanilla or none, got {self.attn_type!r}")
        reachable = {self.resolution >> level for level in range(len(self.ch_mult))}
        if not set(self.attn_resolutions) <= reachable:
            raise ValueError(
                f"DDConfig.attn_resolutions {self.attn_resolutions} must be among the levels' "
                f"resolutions {sorted(reachable)}"
            )

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a latent cell."""
        return int(2 ** (len(self.ch_mult) - 1))


@dataclass(frozen=True)
class VQModelConfig:
    """A VQGAN: its convolutional nets and its codebook.

    Attributes:
        ddconfig: Encoder and decoder.
        n_embed: Codes in the codebook.
        embed_dim: Length of a code.
        gumbel: The quantizer is the Gumbel one (``GumbelVQ``).
    """

    ddconfig: DDConfig = DDConfig()
    n_embed: int = 1024
    embed_dim: int = 256
    gumbel: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        _require_positive("VQModelConfig", n_embed=self.n_embed, embed_dim=self.embed_dim)


@dataclass(frozen=True)
class DVAEConfig:
    """OpenAI's discrete VAE.

    Attributes:
        n_hid: Channels of the finest group; groups double it.
        n_init: Channels of the decoder's first layer.
        n_blk_per_group: Residual blocks a group.
        n_embed: Codes (``vocab_size`` in OpenAI's code).
        resolution: Nominal side in pixels.
    """

    n_hid: int = 256
    n_init: int = 128
    n_blk_per_group: int = 2
    n_embed: int = 8192
    resolution: int = 256

    def __post_init__(self) -> None:
        """Check ranges."""
        _require_positive(
            "DVAEConfig",
            n_hid=self.n_hid,
            n_init=self.n_init,
            n_blk_per_group=self.n_blk_per_group,
            n_embed=self.n_embed,
        )
        if self.n_hid % 4:
            raise ValueError(f"DVAEConfig.n_hid must be a multiple of 4, got {self.n_hid}")


@dataclass(frozen=True)
class GPTConfig:
    """A decoder-only transformer (minGPT).

    Attributes:
        vocab_size: Tokens; condition and image tokens share them.
        block_size: Longest sequence, condition included.
        n_layer: Blocks.
        n_head: Attention heads; divides ``n_embd``.
        n_embd: Width.
        n_unmasked: Leading tokens that see each other both ways (0 in every released model).
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    n_unmasked: int = 0

    def __post_init__(self) -> None:
        """Check ranges and that the heads divide the width."""
        _require_positive(
            "GPTConfig",
            vocab_size=self.vocab_size,
            block_size=self.block_size,
            n_layer=self.n_layer,
            n_head=self.n_head,
            n_embd=self.n_embd,
        )
        if self.n_embd % self.n_head:
            raise ValueError(
                f"GPTConfig.n_embd {self.n_embd} must be a multiple of n_head {self.n_head}"
            )
        if not 0 <= self.n_unmasked <= self.block_size:
            raise ValueError(
                f"GPTConfig.n_unmasked must be in 0..{self.block_size}, got {self.n_unmasked}"
            )


@dataclass(frozen=True)
class Net2NetConfig:
    """A transformer over the codes of a VQGAN, with what conditions it.

    Attributes:
        condition: One of ``CONDITIONS``.
        first_stage: VQGAN of the picture.
        transformer: The GPT.
        cond_stage: VQGAN of the map, for depth and segmentation; ``None`` otherwise.
        n_classes: Classes of a class-conditional model, else 0.
        class_names: Names of the classes; ``()`` where they are not known.
        label_names: Names of the labels of a segmentation map, likewise.
        cond_length: Tokens of the condition at full window.
        window: Side of the square window of latent cells that the transformer sees.
        shift_labels: Label files are stored off by one, 255 being "nothing" (COCO).
    """

    condition: str
    first_stage: VQModelConfig
    transformer: GPTConfig
    cond_stage: VQModelConfig | None = None
    n_classes: int = 0
    cond_length: int = 1
    window: int = 16
    shift_labels: bool = False
    class_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if self.condition not in CONDITIONS:
            raise ValueError(f"condition must be one of {CONDITIONS}, got {self.condition!r}")
        if (self.cond_stage is not None) != (self.condition in ("depth", "segmentation")):
            raise ValueError(
                f"cond_stage belongs to depth and segmentation models; condition is "
                f"{self.condition!r}, cond_stage is {self.cond_stage!r}"
            )
        if (self.n_classes > 0) != (self.condition == "class"):
            raise ValueError(f"n_classes {self.n_classes} does not fit {self.condition!r}")
        self._check_sizes()

    def _check_sizes(self) -> None:
        gpt = self.transformer
        # The last token is never fed back: https://github.com/CompVis/taming-transformers sampling
        longest = self.cond_length + self.window**2 - 1
        if longest > gpt.block_size:
            raise ValueError(
                f"cond_length {self.cond_length} + window {self.window}^2 - 1 = {longest} tokens "
                f"exceed block_size {gpt.block_size}"
            )
        largest = max(
            self.first_stage.n_embed,
            self.cond_stage.n_embed if self.cond_stage else 0,
            self.n_classes,
        )
        if gpt.vocab_size < largest:
            raise ValueError(f"vocab_size {gpt.vocab_size} is smaller than the {largest} tokens")
