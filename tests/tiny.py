"""Small networks with deterministic random weights, for tests."""

from __future__ import annotations

import math
import zlib

import numpy as np
from megengine import Tensor

from official.multimodal.taming_transformer.config import DDConfig, GPTConfig, VQModelConfig
from official.multimodal.taming_transformer.filling import load_tensors, parameter_shapes
from official.multimodal.taming_transformer.gpt import GPT
from official.multimodal.taming_transformer.vqgan import VQModel

DD = DDConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(16,), z_channels=8,
              resolution=32)  # fmt: skip
VQ = VQModelConfig(DD, n_embed=40, embed_dim=4)


def filled(model, gain: float = 2.0):
    """Fill a declared network: every tensor random, by its name alone."""
    tensors = {}
    for name, shape in parameter_shapes(model).items():
        values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1
        tensors[name] = (values * gain / math.sqrt(fan_in)).astype(np.float32)
    load_tensors(model, tensors)
    model.eval()
    return model


def tiny_gpt(vocab_size: int = 50, block_size: int = 64, gain: float = 2.0, **changes) -> GPT:
    """Return a GPT of 3 layers and width 32."""
    shape = {"n_layer": 3, "n_head": 4, "n_embd": 32, **changes}
    return filled(GPT(GPTConfig(vocab_size, block_size, **shape)), gain)


def tiny_vqgan(config: VQModelConfig = VQ) -> VQModel:
    """Return a VQGAN of f = 2 with 40 codes."""
    return filled(VQModel(config))


def tokens(values) -> Tensor:
    """Return an integer tensor."""
    return Tensor(np.ascontiguousarray(values), dtype="int32")
