"""VQGAN and transformers (taming-transformers) on MegEngine, inference only."""

from .completion import Completion
from .conditional import ConditionalSampler
from .config import DDConfig, DVAEConfig, GPTConfig, Net2NetConfig, VQModelConfig
from .dvae import DVAE
from .errors import CheckpointError, DownloadError, WeightsUnavailableError
from .fast import FastSampler
from .net2net import Net2NetTransformer
from .reconstruction import Reconstruction
from .results import SamplingResult
from .runtime import Tuning, tune_cpu
from .sampling import SamplingParams
from .scene_layout import encode_layout
from .vqgan import GumbelVQ, VQModel
from .zoo import (
    ade20k_transformer,
    celebahq_transformer,
    cin_transformer,
    coco_scene_transformer,
    coco_transformer,
    dalle_dvae_f8,
    drin_transformer,
    faceshq_transformer,
    ffhq_transformer,
    list_models,
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

__version__ = "0.1.0"
__all__ = [
    "DVAE",
    "CheckpointError",
    "Completion",
    "ConditionalSampler",
    "DDConfig",
    "DVAEConfig",
    "DownloadError",
    "FastSampler",
    "GPTConfig",
    "GumbelVQ",
    "Net2NetConfig",
    "Net2NetTransformer",
    "Reconstruction",
    "SamplingParams",
    "SamplingResult",
    "Tuning",
    "VQModel",
    "VQModelConfig",
    "WeightsUnavailableError",
    "ade20k_transformer",
    "celebahq_transformer",
    "cin_transformer",
    "coco_scene_transformer",
    "coco_transformer",
    "dalle_dvae_f8",
    "drin_transformer",
    "encode_layout",
    "faceshq_transformer",
    "ffhq_transformer",
    "list_models",
    "open_images_distilled_scene_transformer",
    "open_images_scene_transformer",
    "s_flckr_transformer",
    "scenes_class_transformer",
    "scenes_depth_transformer",
    "scenes_segmentation_transformer",
    "scenes_unconditional_transformer",
    "scenes_vqgan",
    "tune_cpu",
    "vqgan_coco_openimages_scenes",
    "vqgan_coco_scenes",
    "vqgan_faceshq",
    "vqgan_gumbel_f8",
    "vqgan_imagenet_depth",
    "vqgan_imagenet_f16_1024",
    "vqgan_imagenet_f16_16384",
    "vqgan_openimages_f4_8192",
    "vqgan_openimages_f4_8192_noattn",
    "vqgan_openimages_f8_256",
    "vqgan_openimages_f8_16384",
    "vqgan_openimages_f16_16384",
]
