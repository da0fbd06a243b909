"""A transformer between the codes of a condition and the codes of a picture.

Source: taming/models/cond_transformer.py of CompVis/taming-transformers @3ba01b2, inference only.
"""

from __future__ import annotations

import megengine.functional as F
import numpy as np
from megengine import Tensor

from .cond_stage import encode_coordinates, encode_labels, encode_sos, encode_tokens
from .config import Net2NetConfig
from .gpt import GPT
from .layers import Network
from .vqgan import build_vqgan


class Net2NetTransformer(Network):
    """VQGAN of the picture, condition, and the GPT over both.

    Parameters are declared, not filled: builders and ``loading`` give them values.

    Args:
        config: The parts and what they have in common.
    """

    def __init__(self, config: Net2NetConfig):
        super().__init__()
        self.config = config
        self.first_stage_model = build_vqgan(config.first_stage)
        if config.cond_stage is not None:
            self.cond_stage_model = build_vqgan(config.cond_stage)
        self.transformer = GPT(config.transformer)

    @property
    def condition(self) -> str:
        """What the model is conditioned on: one of ``config.CONDITIONS``."""
        return self.config.condition

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a latent cell."""
        return self.first_stage_model.downsampling

    @property
    def n_embed(self) -> int:
        """Codes that a picture's token can be; larger tokens of the vocabulary are conditions."""
        return self.config.first_stage.n_embed

    def encode_to_z(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures (B, 3, H, W) in [-1, 1].

        Returns:
            Quantized latent (B, embed_dim, h, w) and int32 indices (B, h, w); the original returns
            the indices flat.

        Raises:
            ValueError: The shape is not the first stage's.
        """
        return self.first_stage_model.encode(x)

    def encode_to_c(self, c: Tensor | np.ndarray) -> tuple[Tensor | None, Tensor]:
        """Encode the condition.

        Args:
            c: One-hot labels (B, n, H, W); depth (B, 1, H, W) in [-1, 1]; coordinates
                (B, 1, H, W) in [0, 1]; classes (B,); layout tokens (B, length); for an
                unconditional model, anything with B rows.

        Returns:
            Quantized latent (``None`` where the condition is no VQGAN) and int32 tokens:
            (B, h, w) for maps, (B, length) otherwise.

        Raises:
            ValueError: The condition does not fit the model.
        """
        if self.config.cond_stage is not None:
            return self.cond_stage_model.encode(c)
        values = c.numpy() if isinstance(c, Tensor) else np.asarray(c)
        gpt = self.config.transformer
        if self.condition == "unconditional":
            tokens = encode_sos(values.shape[0])
        elif self.condition == "class":
            tokens = encode_labels(values, self.config.n_classes)
        elif self.condition == "coordinates":
            tokens = encode_coordinates(values, self.n_embed, self.downsampling)
        else:
            tokens = encode_tokens(values, gpt.vocab_size, self.config.cond_length)
        return None, Tensor(tokens, dtype="int32", device=self.device)

    def decode_to_img(self, indices: Tensor, zshape: tuple[int, ...] | None = None) -> Tensor:
        """Decode indices to pictures (B, 3, f*h, f*w) of about [-1, 1].

        Args:
            indices: Integers (B, h, w); flat (B, h*w) when ``zshape`` is given.
            zshape: Shape (B, C, h, w) of the latent, as the original asks for.

        Raises:
            ValueError: The shape is another one, or an index is outside the codebook.
        """
        if zshape is not None:
            indices = indices.reshape(zshape[0], zshape[2], zshape[3])
        return self.first_stage_model.decode_code(indices)

    def forward(self, x: Tensor, c: Tensor | np.ndarray | None = None) -> Tensor:
        """Return the logits of every picture token, given the condition and the tokens before.

        Args:
            x: Pictures (B, 3, H, W) in [-1, 1] of at most the window's size.
            c: Their condition, as for ``encode_to_c``; not needed by an unconditional model.

        Returns:
            float32 logits (B, h*w, vocab_size).

        Raises:
            ValueError: A shape does not fit, or the condition is missing.
        """
        if c is None and self.condition != "unconditional":
            raise ValueError(f"this model needs its condition ({self.condition}) as c")
        _, z = self.encode_to_z(x)
        _, tokens = self.encode_to_c(x if c is None else c)
        batch = z.shape[0]
        tokens = tokens.reshape(batch, -1)
        sequence = F.concat([tokens, z.reshape(batch, -1)], axis=1)[:, :-1]
        return self.transformer(sequence)[:, tokens.shape[1] - 1 :]
