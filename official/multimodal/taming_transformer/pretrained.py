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

_MIT = "CompVis' code is MIT; upstream states no licence for these weights"
_LDM = "latent-diffusion's code is MIT; upstream states no licence for these weights"
_DALLE = "Modified MIT (OpenAI): asks for responsible use and for saying that this dVAE was used"

_FIRST, _COND = "first_stage_model", "cond_stage_model"


def _megengine(file: str, prefix: str = "", rest: tuple[Source, ...] = ()) -> Source:
    url = f"https://data.megengine.org.cn/research/multimodality/{file}"
    return Source(url, prefix=prefix, rest=rest, note="converted by MegEngine/Models")


def _heibox(
    share: str, sha256: str | None = None, size: int | None = None, *, member: str = ""
) -> Source:
    """Return a file of Heidelberg University, by its id or by the id and path in a folder."""
    folder, _, path = share.partition("/")
    inside = path.replace("/", "%2F")
    end = f"d/{folder}/files/?p=%2F{inside}&dl=1" if path else f"f/{folder}/?dl=1"
    url = f"https://heibox.uni-heidelberg.de/{end}"
    return Source(url, sha256, size, member=member, note="upstream")


def _koofr(link: str, folder: str, sha256: str | None = None) -> Source:
    """Return the last checkpoint of an upstream training run; koofr may wrap it in a zip."""
    url = (
        f"https://app.koofr.net/content/links/{link}/files/get/last.ckpt"
        f"?path=%2F{folder}%2Fcheckpoints%2Flast.ckpt&force"
    )
    headers = {"Referer": f"https://app.koofr.net/links/{link}"}
    note = "upstream; koofr turns away bare clients"
    return Source(url, sha256, member="*last.ckpt", note=note, headers=headers)


def _drive(file: str) -> Source:
    url = f"https://drive.usercontent.google.com/download?id={file}&export=download&confirm=t"
    return Source(url, member="*.ckpt", note="upstream, on Google Drive")


def _ommer(name: str) -> Source:
    url = f"https://ommer-lab.com/files/latent-diffusion/{name}.zip"
    return Source(url, member="*model.ckpt", note="upstream")


def _hugging(path: str, sha256: str | None = None, size: int | None = None) -> Source:
    """Return a file ``owner/repository/path`` of a model repository, at its head."""
    owner, name, file = path.split("/", 2)
    url = f"https://huggingface.co/{owner}/{name}/resolve/main/{file}"
    return Source(url, sha256, size, note="copy by a third party")


def _github(repository: str, file: str) -> Source:
    """Return a file ``tag/name`` of a release."""
    url = f"https://github.com/{repository}/releases/download/{file}"
    return Source(url, note="copy by a third party")


_SOMNAI = "Somnai/pytti-vqgan-checkpoints"
_F16_16384 = ("845a68805098cb666420d5db93df53f3a3b6dd443e6dd85c05759c5b998cd663", 980_092_370)
_GUMBEL = ("5cd6c74810ab97e00e942c25403f73afc081e8b19987b31ec0d9ff5b68e7ab14", 376_581_823)
_SFLCKR = ("8a8adea3da8dab412675772831370dd948e0aa97bb11a9488a2f328b58dbc929", 4_263_525_412)
_FACESHQ = "3274bba51bd565c90990bbcf7bb5dad0b9b95a6a77011980afc4c3cfc4d1cad1"
_FACESHQ_LINK = ("a04deec9-0c59-4673-8b37-3d696fe63a5d", "2020-11-13T21-41-45_faceshq_transformer")
_DRIN_LINK = ("028f1ba8-404d-42c4-a866-9a8a4eebb40c", "2020-11-20T12-54-32_drin_transformer")
_DRIN_COPY = "shanetx/2020-11-20T12-54-32_drin_transformer/checkpoints/last.ckpt"
_COCO_SCENES = "0d0b2594e9074c7e9a33"
_OPEN_IMAGES_SCENES = "1FEK-Z7hyWJBvFWQF50pzSK9y1W_CJEig"

_AUTOENCODERS: dict[str, tuple[Source, ...]] = {
    "vqgan_imagenet_f16_1024": (
        _megengine("vqgan_imagenet_f16_1024.pkl"),
        _heibox("140747ba53464f49b476", size=957_954_257),
        _heibox("8088892a516d4e3baf92/ckpts/last.ckpt", size=957_954_257),
        _hugging("Nehc/vqgan_imagenet_f16_1024/ckpts/last.ckpt"),
        _hugging("markweber/taming_vqgan/taming_vqgan.ckpt"),
        _github("ieee8023/latentshift", "weights/vqgan_imagenet_f16_1024.ckpt"),
        _hugging("thomwolf/vqgan_imagenet_f16_1024/pytorch_model.bin"),
    ),
    "vqgan_imagenet_f16_16384": (
        _megengine("vqgan_imagenet_f16_16384.pkl"),
        _heibox("867b05fc8c4841768640", *_F16_16384),
        _heibox("a7530b09fed84f80a887/ckpts/last.ckpt", *_F16_16384),
        _hugging(f"{_SOMNAI}/imagenet/imagenet.ckpt", *_F16_16384),
        _hugging("pxlpshr/pytti-models/vqgan/imagenet.ckpt", *_F16_16384),
        _hugging(
            "eminorhan/gpt_visual_memory/vqgan_pretrained_models/imagenet_16x16_16384.ckpt",
            *_F16_16384,
        ),
        _github("mehdidc/feed_forward_vqgan_clip", "0.1/vqgan_imagenet_f16_16384.ckpt"),
    ),
    "vqgan_gumbel_f8": (
        _megengine("vqgan_gumbel_f8.pkl"),
        _megengine("vqgan_gumbel_openimages_f8.pkl"),
        _heibox("2e5662443a6b4307b470/ckpts/last.ckpt", *_GUMBEL),
        _hugging("neggles/vaedump/taming/vq-gumbel-f8-8192/model.ckpt", *_GUMBEL),
        _hugging(f"{_SOMNAI}/openimages/openimages.ckpt", *_GUMBEL),
        _hugging("pxlpshr/pytti-models/vqgan/openimages.ckpt", *_GUMBEL),
    ),
    "vqgan_openimages_f8_256": (
        _megengine("vqgan_openimages_f8_256.pkl"),
        _ommer("vq-f8-n256"),
        _hugging("neggles/vaedump/taming/vq-f8-n256/model.ckpt"),
    ),
    "vqgan_openimages_f8_16384": (
        _megengine("vqgan_openimages_f8_16384.pkl"),
        _ommer("vq-f8"),
        _hugging("neggles/vaedump/taming/vq-f8/model.ckpt"),
    ),
    "vqgan_openimages_f4_8192": (_ommer("vq-f4"),),
    "vqgan_openimages_f4_8192_noattn": (
        _ommer("vq-f4-noattn"),
        _heibox("9c6681f64bb94338a069", member="*model.ckpt"),
    ),
    "vqgan_openimages_f16_16384": (
        _ommer("vq-f16"),
        _heibox("0e42b04e2e904890a9b6", member="*model.ckpt"),
        _hugging("neggles/vaedump/taming/vq-f16/model.ckpt"),
    ),
    "dalle_dvae_f8": (
        _megengine(
            "dalle_openai_dvae_encoder.pkl",
            "encoder.",
            (_megengine("dalle_openai_dvae_decoder.pkl", "decoder."),),
        ),
        Source(
            "https://cdn.openai.com/dall-e/encoder.pkl",
            prefix="encoder.",
            note="upstream",
            rest=(
                Source(
                    "https://cdn.openai.com/dall-e/decoder.pkl", prefix="decoder.", note="upstream"
                ),
            ),
        ),
    ),
    "vqgan_faceshq": (
        replace(_hugging(f"{_SOMNAI}/faceshq/faceshq.ckpt", _FACESHQ), part=_FIRST),
        replace(_koofr(*_FACESHQ_LINK, _FACESHQ), part=_FIRST),
    ),
    "vqgan_imagenet_depth": (
        _koofr("0261cd55-3bae-4c4a-99b4-4517aa934f0c", "2020-11-03T15-34-24_imagenetdepth_vqgan"),
        replace(_koofr(*_DRIN_LINK), part=_COND),
        replace(_hugging(_DRIN_COPY), part=_COND),
        replace(_megengine("taming_drin.pkl"), part=_COND),
    ),
    "vqgan_coco_scenes": (
        _heibox("78dea9589974474c97c1", member="*.ckpt"),
        replace(_heibox(_COCO_SCENES, member="*.ckpt"), part=_FIRST),
    ),
    "vqgan_coco_openimages_scenes": (
        _heibox("461d9a9f4fcf48ab84f4", member="*.ckpt"),
        replace(_drive(_OPEN_IMAGES_SCENES), part=_FIRST),
    ),
}

_TRANSFORMERS: dict[str, tuple[Source, ...]] = {
    "s_flckr_transformer": (
        _megengine("taming_s_flckr.pkl"),
        _heibox("73487ab6e5314cb5adba/checkpoints/last.ckpt", *_SFLCKR),
        _hugging(f"{_SOMNAI}/sflickr/sflickr.ckpt", *_SFLCKR),
        _hugging("pxlpshr/pytti-models/vqgan/sflckr.ckpt", *_SFLCKR),
    ),
    "drin_transformer": (
        _megengine("taming_drin.pkl"),
        _koofr(*_DRIN_LINK),
        _hugging(_DRIN_COPY),
    ),
    "faceshq_transformer": (
        _koofr(*_FACESHQ_LINK, _FACESHQ),
        _hugging(f"{_SOMNAI}/faceshq/faceshq.ckpt", _FACESHQ),
    ),
    "ade20k_transformer": (
        _koofr("0f65c2cd-7102-4550-a2bd-07fd383aac9e", "2020-11-20T21-45-44_ade20k_transformer"),
    ),
    "coco_transformer": (
        Source("https://dl.nmkd.de/ai/clip/coco/coco.ckpt", note="copy by a third party"),
    ),
    "celebahq_transformer": (
        _megengine("taming_celebahq.pkl"),
        _koofr("6dddf083-40c8-470a-9360-a9dab2a94e96", "2021-04-23T18-11-19_celebahq_transformer"),
    ),
    "ffhq_transformer": (
        _koofr("0fc005bf-3dca-4079-9d40-cdf38d42cd7a", "2021-04-23T18-19-01_ffhq_transformer"),
    ),
    "cin_transformer": (
        _koofr("90cbd5aa-ef70-4f5e-99bc-f12e5a89380e", "2021-04-03T19-39-50_cin_transformer"),
    ),
    # of the two COCO models upstream offers, the one of 30 epochs: its host serves it directly
    "coco_scene_transformer": (_heibox(_COCO_SCENES, member="*.ckpt"),),
    "open_images_scene_transformer": (_drive(_OPEN_IMAGES_SCENES),),
    "open_images_distilled_scene_transformer": (_drive("1xf89g0mc78J3d8Bx5YhbK4tNRNlOoYaO"),),
}

SOURCES: Mapping[str, tuple[Source, ...]] = MappingProxyType({**_AUTOENCODERS, **_TRANSFORMERS})
"""Name of a model -> its sources in the order of trying; empty where none is known."""

_FROM_LDM = tuple(name for name in _AUTOENCODERS if name.startswith("vqgan_openimages_"))

LICENCES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(SOURCES, _MIT),
        **dict.fromkeys(_FROM_LDM, _LDM),
        "dalle_dvae_f8": _DALLE,
    }
)
"""Name of a model -> what is known of its weights' licence, in one line."""
