"""What ``megengine.hub`` offers of this repository: the builders and the wrappers.

model = megengine.hub.load("<owner>/<repo>", "vqgan_imagenet_f16_16384", pretrained=True)
"""

from pathlib import Path as __Path  # hub lists every name that does not start with "__"

import official.multimodal.taming_transformer as __package

# Another repository with an `official` package, loaded before in this process, would serve its
# own models here without a word.
if __Path(__package.__file__).resolve().parents[3] != __Path(__file__).resolve().parent:
    raise ImportError(
        f"the package `official` was loaded before from {__package.__file__}: "
        "load this repository in a new Python process"
    )

from official.multimodal.taming_transformer import (  # noqa: F401
    Completion,
    ConditionalSampler,
    FastSampler,
    Reconstruction,
    ade20k_transformer,
    celebahq_transformer,
    cin_transformer,
    coco_scene_transformer,
    coco_transformer,
    dalle_dvae_f8,
    drin_transformer,
    faceshq_transformer,
    ffhq_transformer,
    open_images_distilled_scene_transformer,
    open_images_scene_transformer,
    s_flckr_transformer,
    scenes_class_transformer,
    scenes_depth_transformer,
    scenes_segmentation_transformer,
    scenes_unconditional_transformer,
    scenes_vqgan,
    vqgan_coco_openimages_scenes,
    vqgan_coco_scenes,
    vqgan_faceshq,
    vqgan_gumbel_f8,
    vqgan_imagenet_depth,
    vqgan_imagenet_f16_1024,
    vqgan_imagenet_f16_16384,
    vqgan_openimages_f4_8192,
    vqgan_openimages_f4_8192_noattn,
    vqgan_openimages_f8_256,
    vqgan_openimages_f8_16384,
    vqgan_openimages_f16_16384,
)

dependencies = [
    "megengine",
    "numpy",
    "cv2",
    "PIL",
    "imageio_ffmpeg",
    "tqdm",
    "requests",
    "safetensors",
]
