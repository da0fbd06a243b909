"""Where the transformers' checkpoints can be had: the part of `pretrained` that is theirs."""

from __future__ import annotations

from typing import Mapping

from .sources import Source

MEGENGINE = "https://data.megengine.org.cn/research/multimodality"
HEIBOX = "https://heibox.uni-heidelberg.de"
KOOFR = "https://app.koofr.net/content/links"
KOOFR_PAGE = "https://app.koofr.net/links"  # the page that a reader would come from
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
HUGGING_FACE = "https://huggingface.co"
SOMNAI = "https://huggingface.co/Somnai/pytti-vqgan-checkpoints/resolve/main"
PXLPSHR = "https://huggingface.co/pxlpshr/pytti-models/resolve/main/vqgan"

PORT, UP, COPY = "converted by MegEngine/Models", "upstream", "copy by a third party"
SHY = "upstream; koofr turns away bare clients"
LAST = "*last.ckpt"  # koofr may wrap a file in a zip

_SHA_SFLCKR = "8a8adea3da8dab412675772831370dd948e0aa97bb11a9488a2f328b58dbc929"
_SIZE_SFLCKR = 4_263_525_412
_SHA_FACESHQ = "3274bba51bd565c90990bbcf7bb5dad0b9b95a6a77011980afc4c3cfc4d1cad1"

# Checkpoints that serve a transformer, and by a part of them a VQGAN.
FACESHQ = Source(
    f"{KOOFR}/a04deec9-0c59-4673-8b37-3d696fe63a5d/files/get/last.ckpt"
    "?path=%2F2020-11-13T21-41-45_faceshq_transformer%2Fcheckpoints%2Flast.ckpt&force",
    _SHA_FACESHQ,
    member=LAST,
    note=SHY,
    headers={"Referer": f"{KOOFR_PAGE}/a04deec9-0c59-4673-8b37-3d696fe63a5d"},
)
FACESHQ_COPY = Source(f"{SOMNAI}/faceshq/faceshq.ckpt", _SHA_FACESHQ, note=COPY)
DRIN_PORT = Source(f"{MEGENGINE}/taming_drin.pkl", note=PORT)
DRIN = Source(
    f"{KOOFR}/028f1ba8-404d-42c4-a866-9a8a4eebb40c/files/get/last.ckpt"
    "?path=%2F2020-11-20T12-54-32_drin_transformer%2Fcheckpoints%2Flast.ckpt&force",
    member=LAST,
    note=SHY,
    headers={"Referer": f"{KOOFR_PAGE}/028f1ba8-404d-42c4-a866-9a8a4eebb40c"},
)
DRIN_COPY = Source(
    f"{HUGGING_FACE}/shanetx/2020-11-20T12-54-32_drin_transformer/resolve/main"
    "/checkpoints/last.ckpt",
    note=COPY,
)
# Of the two COCO models upstream offers, the one of 30 epochs: its host serves it directly.
COCO_SCENES = Source(f"{HEIBOX}/f/0d0b2594e9074c7e9a33/?dl=1", member="*.ckpt", note=UP)
OPEN_IMAGES = Source(f"{DRIVE}1FEK-Z7hyWJBvFWQF50pzSK9y1W_CJEig", member="*.ckpt", note=UP)

TRANSFORMERS: Mapping[str, tuple[Source, ...]] = {
    "s_flckr_transformer": (
        Source(f"{MEGENGINE}/taming_s_flckr.pkl", note=PORT),
        Source(
            f"{HEIBOX}/d/73487ab6e5314cb5adba/files/?p=%2Fcheckpoints%2Flast.ckpt&dl=1",
            _SHA_SFLCKR,
            _SIZE_SFLCKR,
            note=UP,
        ),
        Source(f"{SOMNAI}/sflickr/sflickr.ckpt", _SHA_SFLCKR, _SIZE_SFLCKR, note=COPY),
        Source(f"{PXLPSHR}/sflckr.ckpt", _SHA_SFLCKR, _SIZE_SFLCKR, note=COPY),
    ),
    "drin_transformer": (DRIN_PORT, DRIN, DRIN_COPY),
    "faceshq_transformer": (FACESHQ, FACESHQ_COPY),
    "ade20k_transformer": (
        Source(
            f"{KOOFR}/0f65c2cd-7102-4550-a2bd-07fd383aac9e/files/get/last.ckpt"
            "?path=%2F2020-11-20T21-45-44_ade20k_transformer%2Fcheckpoints%2Flast.ckpt&force",
            member=LAST,
            note=SHY,
            headers={"Referer": f"{KOOFR_PAGE}/0f65c2cd-7102-4550-a2bd-07fd383aac9e"},
        ),
    ),
    "coco_transformer": (Source("https://dl.nmkd.de/ai/clip/coco/coco.ckpt", note=COPY),),
    "celebahq_transformer": (
        Source(f"{MEGENGINE}/taming_celebahq.pkl", note=PORT),
        Source(
            f"{KOOFR}/6dddf083-40c8-470a-9360-a9dab2a94e96/files/get/last.ckpt"
            "?path=%2F2021-04-23T18-11-19_celebahq_transformer%2Fcheckpoints%2Flast.ckpt&force",
            member=LAST,
            note=SHY,
            headers={"Referer": f"{KOOFR_PAGE}/6dddf083-40c8-470a-9360-a9dab2a94e96"},
        ),
    ),
    "ffhq_transformer": (
        Source(
            f"{KOOFR}/0fc005bf-3dca-4079-9d40-cdf38d42cd7a/files/get/last.ckpt"
            "?path=%2F2021-04-23T18-19-01_ffhq_transformer%2Fcheckpoints%2Flast.ckpt&force",
            member=LAST,
            note=SHY,
            headers={"Referer": f"{KOOFR_PAGE}/0fc005bf-3dca-4079-9d40-cdf38d42cd7a"},
        ),
    ),
    "cin_transformer": (
        Source(
            f"{KOOFR}/90cbd5aa-ef70-4f5e-99bc-f12e5a89380e/files/get/last.ckpt"
            "?path=%2F2021-04-03T19-39-50_cin_transformer%2Fcheckpoints%2Flast.ckpt&force",
            member=LAST,
            note=SHY,
            headers={"Referer": f"{KOOFR_PAGE}/90cbd5aa-ef70-4f5e-99bc-f12e5a89380e"},
        ),
    ),
    "coco_scene_transformer": (COCO_SCENES,),
    "open_images_scene_transformer": (OPEN_IMAGES,),
    "open_images_distilled_scene_transformer": (
        Source(f"{DRIVE}1xf89g0mc78J3d8Bx5YhbK4tNRNlOoYaO", member="*.ckpt", note=UP),
    ),
}
