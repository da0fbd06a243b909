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


dependencies = ["megengine", "numpy", "cv2", "PIL", "imageio", "tqdm", "requests", "safetensors"]
