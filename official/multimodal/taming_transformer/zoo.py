"""The models: one table row each; the assignment is the builder.

Configurations: the original's YAML files and Table 8 of the paper (arXiv 2012.09841v3); FIDs: its
Table 5 and the READMEs of CompVis/taming-transformers and CompVis/latent-diffusion.
"""

from __future__ import annotations

from dataclasses import replace

from .config import DDConfig, DVAEConfig, GPTConfig, Net2NetConfig, VQModelConfig
from .registry import MODELS, ModelRow, expected_shapes, list_models, model_row, register, skeleton
from .sampling import SamplingParams
from .scenes import *  # noqa: F403 # rows like those below

_F16 = DDConfig()
_F8 = DDConfig(ch_mult=(1, 1, 2, 4), attn_resolutions=(32,))
_F4 = DDConfig(ch_mult=(1, 2, 4), attn_resolutions=(), z_channels=3)
_LDM_F8 = DDConfig(ch_mult=(1, 2, 2, 4), attn_resolutions=(32,), z_channels=4)
_VQ1024 = VQModelConfig(_F16, 1024)
_DEPTH = VQModelConfig(replace(_F16, in_channels=1, out_ch=1), 1024)


def _labels(n: int) -> VQModelConfig:
    return VQModelConfig(replace(_F16, in_channels=n, out_ch=n), 1024)


def _gpt(vocab: int, block: int, layers: int, width: int, heads: int = 16) -> GPTConfig:
    return GPTConfig(vocab, block, layers, heads, width)


vqgan_imagenet_f16_1024 = register(
    "vqgan_imagenet_f16_1024",
    _VQ1024,
    "VQGAN f16 with 1024 codes, trained on ImageNet.",
    fid="7.94 (ImageNet validation, reconstruction)",
)
vqgan_imagenet_f16_16384 = register(
    "vqgan_imagenet_f16_16384",
    VQModelConfig(_F16, 16384),
    "VQGAN f16 with 16384 codes, trained on ImageNet.",
    fid="4.98 (ImageNet validation, reconstruction)",
)
vqgan_gumbel_f8 = register(
    "vqgan_gumbel_f8",
    VQModelConfig(_F8, 8192, gumbel=True),
    "VQGAN f8 with 8192 codes and the Gumbel quantizer, trained on OpenImages.",
    fid="1.49 (ImageNet validation, reconstruction)",
)
vqgan_openimages_f8_256 = register(
    "vqgan_openimages_f8_256",
    VQModelConfig(_LDM_F8, 256, 4),
    "Latent-diffusion's vq-f8-n256: VQGAN f8 with 256 codes, trained on OpenImages.",
    fid="1.49 (ImageNet validation, reconstruction)",
)
vqgan_openimages_f8_16384 = register(
    "vqgan_openimages_f8_16384",
    VQModelConfig(_LDM_F8, 16384, 4),
    "Latent-diffusion's vq-f8: VQGAN f8 with 16384 codes, trained on OpenImages.",
    fid="1.14 (ImageNet validation, reconstruction)",
)
vqgan_openimages_f4_8192 = register(
    "vqgan_openimages_f4_8192",
    VQModelConfig(_F4, 8192, 3),
    "Latent-diffusion's vq-f4: VQGAN f4 with 8192 codes, trained on OpenImages.",
    fid="0.58 (validation set, by latent-diffusion's README)",
)
vqgan_openimages_f4_8192_noattn = register(
    "vqgan_openimages_f4_8192_noattn",
    VQModelConfig(replace(_F4, attn_type="none"), 8192, 3),
    "Latent-diffusion's vq-f4-noattn: VQGAN f4 with 8192 codes and no attention.",
    fid="1.06 (validation set, by latent-diffusion's README)",
)
vqgan_openimages_f16_16384 = register(
    "vqgan_openimages_f16_16384",
    VQModelConfig(
        DDConfig(ch_mult=(1, 1, 2, 2, 4), attn_resolutions=(16,), z_channels=8), 16384, 8
    ),
    "Latent-diffusion's vq-f16: VQGAN f16 with 16384 codes, trained on OpenImages.",
    fid="5.15 (validation set, by latent-diffusion's README)",
)
dalle_dvae_f8 = register(
    "dalle_dvae_f8",
    DVAEConfig(),
    "OpenAI's discrete VAE f8 with 8192 codes, the tokenizer of DALL-E.",
    fid="32.01 (ImageNet validation, reconstruction)",
)
vqgan_faceshq = register(
    "vqgan_faceshq",
    _VQ1024,
    "VQGAN f16 with 1024 codes, trained on CelebA-HQ and FFHQ.",
)
vqgan_imagenet_depth = register(
    "vqgan_imagenet_depth",
    _DEPTH,
    "VQGAN f16 with 1024 codes for MiDaS depth maps of ImageNet (one channel).",
)
vqgan_coco_scenes = register(
    "vqgan_coco_scenes",
    VQModelConfig(_F16, 8192),
    "VQGAN f16 with 8192 codes, trained on COCO; first stage of its scene-layout model.",
)
vqgan_coco_openimages_scenes = register(
    "vqgan_coco_openimages_scenes",
    VQModelConfig(_F16, 8192),
    "VQGAN f16 with 8192 codes, trained on COCO and OpenImages; first stage of scene layouts.",
)

_MAPS = SamplingParams(temperature=1.0, top_k=100)
_FACES = SamplingParams(temperature=1.0, top_k=250)

s_flckr_transformer = register(
    "s_flckr_transformer",
    Net2NetConfig(
        "segmentation", _VQ1024, _gpt(1024, 512, 24, 1024), _labels(182), cond_length=256
    ),
    "S-FLCKR: landscapes from segmentation maps of 182 labels.",
    _MAPS,
)
drin_transformer = register(
    "drin_transformer",
    Net2NetConfig("depth", _VQ1024, _gpt(1024, 512, 24, 1024), _DEPTH, cond_length=256),
    "D-RIN: ImageNet pictures from depth maps.",
    _MAPS,
)
faceshq_transformer = register(
    "faceshq_transformer",
    Net2NetConfig("coordinates", _VQ1024, _gpt(1024, 512, 24, 1024), cond_length=256),
    "FacesHQ: faces at any size, conditioned on the position in the picture.",
    _MAPS,
)
ade20k_transformer = register(
    "ade20k_transformer",
    Net2NetConfig(
        "segmentation",
        VQModelConfig(_F16, 4096),
        _gpt(4096, 512, 28, 1024),
        _labels(151),
        cond_length=256,
    ),
    "ADE20K: scenes from segmentation maps of 151 labels. The released file has not been seen "
    "here: the paper counts 405 M parameters where this configuration has 362 M.",
    _MAPS,
    fid="35.5 (ADE20K validation)",
)
coco_transformer = register(
    "coco_transformer",
    Net2NetConfig(
        "segmentation",
        VQModelConfig(_F16, 8192),
        _gpt(8192, 512, 32, 1280),
        _labels(183),
        cond_length=256,
        shift_labels=True,
    ),
    "COCO-Stuff: scenes from segmentation maps of 183 labels (files hold label - 1, 255: none).",
    _MAPS,
    fid="20.4 (COCO-Stuff validation)",
)
celebahq_transformer = register(
    "celebahq_transformer",
    Net2NetConfig("unconditional", _VQ1024, _gpt(1024, 256, 24, 1664)),
    "CelebA-HQ: unconditional faces.",
    _FACES,
    fid="10.2 (CelebA-HQ training set, top-k 400)",
)
ffhq_transformer = register(
    "ffhq_transformer",
    Net2NetConfig("unconditional", _VQ1024, _gpt(1024, 256, 24, 1664)),
    "FFHQ: unconditional faces.",
    _FACES,
    fid="9.6 (FFHQ training set, top-k 300)",
)
cin_transformer = register(
    "cin_transformer",
    Net2NetConfig("class", VQModelConfig(_F16, 16384), _gpt(16384, 256, 48, 1536), n_classes=1000),
    "Class-conditional ImageNet, 1000 classes. 16 heads are the paper's word: weights' shapes "
    "cannot tell, and the released YAML has not been seen here.",
    SamplingParams(temperature=1.0, top_k=600, top_p=0.92),
    fid="15.78 (ImageNet training set, top-k 973, top-p 0.88)",
)


def _scenes(layers: int, width: int, heads: int = 16) -> Net2NetConfig:
    gpt = _gpt(8192, 348, layers, width, heads)
    return Net2NetConfig("scene_layout", VQModelConfig(_F16, 8192), gpt, cond_length=92)


coco_scene_transformer = register(
    "coco_scene_transformer",
    _scenes(40, 1408),
    "COCO scenes from bounding boxes (30 objects and a crop).",
    _MAPS,
)
open_images_scene_transformer = register(
    "open_images_scene_transformer",
    _scenes(36, 1536),
    "Open Images scenes from bounding boxes (30 objects and a crop), 1 B parameters.",
    _MAPS,
    fid="41.48 (Open Images)",
)
open_images_distilled_scene_transformer = register(
    "open_images_distilled_scene_transformer",
    _scenes(16, 768, 12),
    "Open Images scenes, distilled to 125 M parameters; 16 layers of width 768 are inferred from "
    "that count, the released file has not been seen here.",
    _MAPS,
    fid="43.07 (Open Images)",
)

__all__ = ["MODELS", "ModelRow", "expected_shapes", "list_models", "model_row", "skeleton", *MODELS]
