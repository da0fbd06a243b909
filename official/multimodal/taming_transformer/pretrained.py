"""Where the published weights of each model can be had: a table, in the order of trying.

First MegEngine's own file where it is that model, then upstream's checkpoint, then copies of it.
One name always means one set of weights. Left out are files that are labelled as one of these
models and are not: fine-tuned ones, a "16384" that holds 1024 codes, Flax-only ones; and hosts
that are gone. A digest is given where somebody has published one; others are recorded when a
file is first fetched. Google Drive and koofr change their ways now and then: what they answer
is checked like everything else, and the next source is tried.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Mapping

from .sources import Source
from .transformer_sources import (
    COCO_SCENES,
    COPY,
    DRIN,
    DRIN_COPY,
    DRIN_PORT,
    FACESHQ,
    FACESHQ_COPY,
    HEIBOX,
    HUGGING_FACE,
    KOOFR,
    KOOFR_PAGE,
    LAST,
    MEGENGINE,
    OPEN_IMAGES,
    PORT,
    PXLPSHR,
    SHY,
    SOMNAI,
    TRANSFORMERS,
    UP,
)

_OMMER = "https://ommer-lab.com/files/latent-diffusion"
_DALLE = "https://cdn.openai.com/dall-e"
_NEGGLES = "https://huggingface.co/neggles/vaedump/resolve/main/taming"
_GITHUB = "https://github.com"

_FIRST, _COND = "first_stage_model", "cond_stage_model"
_ZIP = "*model.ckpt"  # a checkpoint's name in ommer-lab's zips

_SIZE_1024 = 957_954_257
_SHA_16384 = "845a68805098cb666420d5db93df53f3a3b6dd443e6dd85c05759c5b998cd663"
_SIZE_16384 = 980_092_370
_SHA_GUMBEL = "5cd6c74810ab97e00e942c25403f73afc081e8b19987b31ec0d9ff5b68e7ab14"
_SIZE_GUMBEL = 376_581_823

_AUTOENCODERS: Mapping[str, tuple[Source, ...]] = {
    "vqgan_imagenet_f16_1024": (
        Source(f"{MEGENGINE}/vqgan_imagenet_f16_1024.pkl", note=PORT),
        Source(f"{HEIBOX}/f/140747ba53464f49b476/?dl=1", size=_SIZE_1024, note=UP),
        Source(
            f"{HEIBOX}/d/8088892a516d4e3baf92/files/?p=%2Fckpts%2Flast.ckpt&dl=1",
            size=_SIZE_1024,
            note=UP,
        ),
        Source(
            f"{HUGGING_FACE}/Nehc/vqgan_imagenet_f16_1024/resolve/main/ckpts/last.ckpt",
            note=COPY,
        ),
        Source(f"{HUGGING_FACE}/markweber/taming_vqgan/resolve/main/taming_vqgan.ckpt", note=COPY),
        Source(
            f"{_GITHUB}/ieee8023/latentshift/releases/download/weights"
            "/vqgan_imagenet_f16_1024.ckpt",
            note=COPY,
        ),
        Source(
            f"{HUGGING_FACE}/thomwolf/vqgan_imagenet_f16_1024/resolve/main/pytorch_model.bin",
            note=COPY,
        ),
    ),
    "vqgan_imagenet_f16_16384": (
        Source(f"{MEGENGINE}/vqgan_imagenet_f16_16384.pkl", note=PORT),
        Source(f"{HEIBOX}/f/867b05fc8c4841768640/?dl=1", _SHA_16384, _SIZE_16384, note=UP),
        Source(
            f"{HEIBOX}/d/a7530b09fed84f80a887/files/?p=%2Fckpts%2Flast.ckpt&dl=1",
            _SHA_16384,
            _SIZE_16384,
            note=UP,
        ),
        Source(f"{SOMNAI}/imagenet/imagenet.ckpt", _SHA_16384, _SIZE_16384, note=COPY),
        Source(f"{PXLPSHR}/imagenet.ckpt", _SHA_16384, _SIZE_16384, note=COPY),
        Source(
            f"{HUGGING_FACE}/eminorhan/gpt_visual_memory/resolve/main"
            "/vqgan_pretrained_models/imagenet_16x16_16384.ckpt",
            _SHA_16384,
            _SIZE_16384,
            note=COPY,
        ),
        Source(
            f"{_GITHUB}/mehdidc/feed_forward_vqgan_clip/releases/download/0.1"
            "/vqgan_imagenet_f16_16384.ckpt",
            note=COPY,
        ),
    ),
    "vqgan_gumbel_f8": (
        Source(f"{MEGENGINE}/vqgan_gumbel_f8.pkl", note=PORT),
        Source(f"{MEGENGINE}/vqgan_gumbel_openimages_f8.pkl", note=PORT),
        Source(
            f"{HEIBOX}/d/2e5662443a6b4307b470/files/?p=%2Fckpts%2Flast.ckpt&dl=1",
            _SHA_GUMBEL,
            _SIZE_GUMBEL,
            note=UP,
        ),
        Source(f"{_NEGGLES}/vq-gumbel-f8-8192/model.ckpt", _SHA_GUMBEL, _SIZE_GUMBEL, note=COPY),
        Source(f"{SOMNAI}/openimages/openimages.ckpt", _SHA_GUMBEL, _SIZE_GUMBEL, note=COPY),
        Source(f"{PXLPSHR}/openimages.ckpt", _SHA_GUMBEL, _SIZE_GUMBEL, note=COPY),
    ),
    "vqgan_openimages_f8_256": (
        Source(f"{MEGENGINE}/vqgan_openimages_f8_256.pkl", note=PORT),
        Source(f"{_OMMER}/vq-f8-n256.zip", member=_ZIP, note=UP),
        Source(f"{_NEGGLES}/vq-f8-n256/model.ckpt", note=COPY),
    ),
    "vqgan_openimages_f8_16384": (
        Source(f"{MEGENGINE}/vqgan_openimages_f8_16384.pkl", note=PORT),
        Source(f"{_OMMER}/vq-f8.zip", member=_ZIP, note=UP),
        Source(f"{_NEGGLES}/vq-f8/model.ckpt", note=COPY),
    ),
    "vqgan_openimages_f4_8192": (Source(f"{_OMMER}/vq-f4.zip", member=_ZIP, note=UP),),
    "vqgan_openimages_f4_8192_noattn": (
        Source(f"{_OMMER}/vq-f4-noattn.zip", member=_ZIP, note=UP),
        Source(f"{HEIBOX}/f/9c6681f64bb94338a069/?dl=1", member=_ZIP, note=UP),
    ),
    "vqgan_openimages_f16_16384": (
        Source(f"{_OMMER}/vq-f16.zip", member=_ZIP, note=UP),
        Source(f"{HEIBOX}/f/0e42b04e2e904890a9b6/?dl=1", member=_ZIP, note=UP),
        Source(f"{_NEGGLES}/vq-f16/model.ckpt", note=COPY),
    ),
    "dalle_dvae_f8": (
        Source(
            f"{MEGENGINE}/dalle_openai_dvae_encoder.pkl",
            prefix="encoder.",
            note=PORT,
            rest=(
                Source(f"{MEGENGINE}/dalle_openai_dvae_decoder.pkl", prefix="decoder.", note=PORT),
            ),
        ),
        Source(
            f"{_DALLE}/encoder.pkl",
            prefix="encoder.",
            note=UP,
            rest=(Source(f"{_DALLE}/decoder.pkl", prefix="decoder.", note=UP),),
        ),
    ),
    "vqgan_faceshq": (
        replace(FACESHQ, part=_FIRST),
        replace(FACESHQ_COPY, part=_FIRST),
    ),
    "vqgan_imagenet_depth": (
        Source(
            f"{KOOFR}/0261cd55-3bae-4c4a-99b4-4517aa934f0c/files/get/last.ckpt"
            "?path=%2F2020-11-03T15-34-24_imagenetdepth_vqgan%2Fcheckpoints%2Flast.ckpt&force",
            member=LAST,
            note=SHY,
            headers={"Referer": f"{KOOFR_PAGE}/0261cd55-3bae-4c4a-99b4-4517aa934f0c"},
        ),
        replace(DRIN_PORT, part=_COND),
        replace(DRIN, part=_COND),
        replace(DRIN_COPY, part=_COND),
    ),
    "vqgan_coco_scenes": (
        Source(f"{HEIBOX}/f/78dea9589974474c97c1/?dl=1", member="*.ckpt", note=UP),
        replace(COCO_SCENES, part=_FIRST),
    ),
    "vqgan_coco_openimages_scenes": (
        Source(f"{HEIBOX}/f/461d9a9f4fcf48ab84f4/?dl=1", member="*.ckpt", note=UP),
        replace(OPEN_IMAGES, part=_FIRST),
    ),
}

SOURCES: Mapping[str, tuple[Source, ...]] = MappingProxyType({**_AUTOENCODERS, **TRANSFORMERS})
"""Name of a model -> its sources in the order of trying; empty where none is known."""

_MIT = "CompVis' code is MIT; upstream states no licence for these weights"
_LDM = "latent-diffusion's code is MIT; upstream states no licence for these weights"

# Models whose weights come with the checkout, and the file in assets/weights that each reads.
SHIPPED: Mapping[str, str] = MappingProxyType(
    {
        "scenes_vqgan": "scenes_vqgan",
        "scenes_segmentation_transformer": "scenes_segmentation_transformer",
        "scenes_depth_transformer": "scenes_depth_transformer",
        "scenes_class_transformer": "scenes_class_transformer",
        "scenes_unconditional_transformer": "scenes_class_transformer",
    }
)
LICENCES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(SOURCES, _MIT),
        "vqgan_openimages_f8_256": _LDM,
        "vqgan_openimages_f8_16384": _LDM,
        "vqgan_openimages_f4_8192": _LDM,
        "vqgan_openimages_f4_8192_noattn": _LDM,
        "vqgan_openimages_f16_16384": _LDM,
        **dict.fromkeys(SHIPPED, "Apache-2.0, as this repository"),
        "dalle_dvae_f8": (
            "Modified MIT (OpenAI): asks for responsible use and for saying that it was used"
        ),
    }
)
"""Name of a model -> what is known of its weights' licence, in one line."""
