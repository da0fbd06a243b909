"""Show what a first-stage model keeps of a picture: encode it, decode the codes, write the result.

Source: ``scripts/reconstruction_usage.ipynb`` of CompVis/taming-transformers. Differences: values
are rounded to 8 bits, not truncated, and whole pictures of any size can be passed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

import numpy as np
from megengine import Tensor
from PIL import Image

from .dvae import DVAE
from .image import (
    center_crop,
    read_image,
    reflect_pad_to_multiple,
    resize_short_side,
    to_uint8,
    to_unit_range,
    write_image,
)
from .image_files import EXTENSIONS, check_image_name
from .paths import PathLike, check_target, one_line
from .vqgan import VQModel

FirstStage = Union[VQModel, DVAE]
Picture = Union[str, "os.PathLike[str]", Image.Image, np.ndarray]

_SHOWN_ERRORS = 3


class Reconstruction:
    """Pass pictures through a first-stage model and back.

    The model is put into ``eval()``; nothing is recorded for gradients.

    Args:
        model: A first-stage model of RGB pictures; of a transformer pass ``first_stage_model``.
        size: The picture's shorter side is resized to this (antialiased Lanczos) and the middle
            square is cut out, as in the original; ``"model"`` is the side that the model was
            trained on (256). ``None`` keeps the whole picture at its own size: it is padded at the
            bottom and right by reflection to what the model can take, and cropped back. VQGANs run
            more than 1024x1024 pixels in tiles: bounded memory, the same result (``tiles``).

    Raises:
        TypeError: ``model`` is no first-stage model.
        ValueError: The model is not one of RGB pictures, or ``size`` does not fit it.

    Example:
        >>> rec = Reconstruction(vqgan_imagenet_f16_16384(pretrained=True))  # doctest: +SKIP
        >>> picture = rec("photo.jpg", file_name="reconstructed.png")  # doctest: +SKIP
    """

    def __init__(self, model: FirstStage, size: int | str | None = "model"):
        if not all(hasattr(model, name) for name in ("encode", "decode_code", "downsampling")):
            raise TypeError(
                f"got {type(model).__name__}; expected a first-stage model such as VQModel: of a "
                "transformer pass its first_stage_model"
            )
        if model.in_channels != 3:
            raise ValueError(
                f"the model takes {model.in_channels} channels; expected a model of RGB pictures: "
                "depth and label maps go through model.encode and model.decode"
            )
        self.size = _checked_size(size, model)
        self.model = model
        model.eval()

    def __call__(
        self, image: Picture, file_name: PathLike | None = None
    ) -> np.ndarray | list[Path]:
        """Reconstruct a picture, or every picture of a folder.

        Args:
            image: Path, Pillow image or RGB uint8 array (H, W, 3); all that ``read_image`` takes.
                Or a folder: see :meth:`folder`.
            file_name: Where to write the result (.png, .jpg, .jpeg or .webp; its folder must
                exist), or ``None``. For a folder of pictures the folder to write to.

        Returns:
            The reconstruction as RGB uint8 array: (size, size, 3), or (H, W, 3) of the picture
            where ``size`` is ``None``. For a folder, the files written.

        Raises:
            FileNotFoundError: There is no such picture, or no folder to write to.
            TypeError: ``image`` is of another type.
            ValueError: The picture is unreadable or too small, or ``file_name`` cannot be used.
        """
        if isinstance(image, (str, os.PathLike)) and Path(image).is_dir():
            if file_name is None:
                raise ValueError(
                    f"{str(image)!r} is a folder: give file_name= the folder for the results"
                )
            return self.folder(image, file_name)
        if file_name is not None:
            check_image_name(file_name)
            check_target(file_name)
        picture = self._reconstruct(image)
        if file_name is not None:
            write_image(file_name, picture)
        return picture

    def folder(self, source: PathLike, target: PathLike) -> list[Path]:
        """Reconstruct every picture of a folder (not of the folders in it) to ``target``.

        ``name.jpg`` becomes ``name.png``, or every picture ``name.jpg.png`` where two differ by
        the extension alone. Hidden files and other extensions than pictures' are passed over. A
        picture that cannot be used does not stop the others: they are all written before the error
        is raised.

        Args:
            source: Folder of pictures.
            target: Folder for the results; created if it does not exist.

        Returns:
            The files written, sorted by the names of the pictures.

        Raises:
            FileNotFoundError: There is no folder ``source``.
            ValueError: No pictures in it, ``target`` is the same folder or a file, or pictures
                that could not be used, each named with its reason.
        """
        pictures, results = _plan_folder(Path(source), Path(target))
        Path(target).mkdir(parents=True, exist_ok=True)
        written, errors = [], []
        for picture, result in zip(pictures, results):
            try:
                self(picture, result)
            except (ValueError, OSError) as error:
                errors.append(one_line(error))
            else:
                written.append(result)
        if errors:
            more = len(errors) - _SHOWN_ERRORS
            listed = errors[:_SHOWN_ERRORS] + ([f"and {more} others"] if more > 0 else [])
            raise ValueError(
                f"{len(errors)} of {len(pictures)} pictures in {str(source)!r} could not be used, "
                f"the other {len(written)} are in {str(target)!r}: {'; '.join(listed)}"
            )
        return written

    def encode(self, image: Picture) -> np.ndarray:
        """Return a picture's codes.

        Args:
            image: As for calling the object.

        Returns:
            int32 array (h, w) of indices into the codebook, of the resized or padded picture.

        Raises:
            FileNotFoundError: There is no such picture.
            TypeError: ``image`` is of another type.
            ValueError: The picture is unreadable or too small.
        """
        x = reflect_pad_to_multiple(self._prepare(image), self.model.downsampling)
        indices = self.model.encode(self._to_tensor(x))[1].numpy()
        return np.array(indices[0], np.int32, order="C")  # a copy: codes are there to be changed

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Return the picture of an integer array of codes (h, w): RGB uint8, f times as large.

        Raises:
            ValueError: Another shape or dtype, or an index outside the codebook.
        """
        if indices.ndim != 2 or indices.size == 0 or indices.dtype.kind not in "iu":
            raise ValueError(
                f"got {indices.dtype} {indices.shape}; expected integer indices (h, w)"
            )
        codes = Tensor(np.array(indices, np.int32)[None].copy(), device=self.model.device)
        return _to_picture(self.model.decode_code(codes))

    def _reconstruct(self, image: Picture) -> np.ndarray:
        picture = self._prepare(image)
        height, width = picture.shape[:2]
        padded = reflect_pad_to_multiple(picture, self.model.downsampling)
        result = _to_picture(self.model.decode(self.model.encode(self._to_tensor(padded))[0]))
        return np.ascontiguousarray(result[:height, :width])

    def _prepare(self, image: Picture) -> np.ndarray:
        picture = read_image(image)
        if self.size is None:
            return picture
        height, width = picture.shape[:2]
        if min(height, width) < self.size:
            name = repr(str(image)) if isinstance(image, (str, os.PathLike)) else "the picture"
            raise ValueError(
                f"{name} is {width}x{height}; expected a shorter side of at least {self.size}: "
                "enlarge it, or pass a smaller size or size=None to Reconstruction"
            )
        return center_crop(resize_short_side(picture, self.size), self.size)

    def _to_tensor(self, picture: np.ndarray) -> Tensor:
        x = to_unit_range(picture).astype(self.model.dtype, copy=False)
        return Tensor(x, device=self.model.device)


def _to_picture(x: Tensor) -> np.ndarray:
    return to_uint8(x.numpy().astype(np.float32, copy=False))


def _checked_size(size: int | str | None, model: FirstStage) -> int | None:
    if size is None:
        return None
    side = model.resolution if size == "model" else size
    if not isinstance(side, int) or side < 1 or side % model.downsampling:
        raise ValueError(
            f"size is {size!r}; expected a multiple of {model.downsampling}, 'model' or None"
        )
    return side


def _plan_folder(source: Path, target: Path) -> tuple[list[Path], list[Path]]:
    if not source.is_dir():
        raise FileNotFoundError(f"the folder {str(source)!r} does not exist; check the path")
    if target.exists() and not target.is_dir():
        raise ValueError(f"{str(target)!r} is a file; expected a folder for the results")
    if target.exists() and source.samefile(target):
        raise ValueError(f"{str(target)!r} holds the pictures; choose another for the results")
    pictures = sorted(
        path
        for path in source.iterdir()
        if path.suffix.lower() in EXTENSIONS and path.name[0] != "." and path.is_file()
    )
    if not pictures:
        raise ValueError(f"{str(source)!r} holds no pictures; expected .png, .jpg, .webp, ...")
    names = [path.stem for path in pictures]
    if len({name.lower() for name in names}) < len(names):
        names = [path.name for path in pictures]
    return pictures, [target / f"{name}.png" for name in names]
