"""Training data: packs of made-up scenes, folders of pictures and maps, and crops of them.

    python tools/train/data.py --out runs/scenes --count 8000 --seed 0
    python tools/train/data.py --out runs/mine --pictures photos/ --maps maps/ --map-kind labels

A pack is a folder of .npy arrays of one length: images (N, H, W, 3) uint8, and where known labels
(N, H, W) uint8, depth (N, H, W) uint8 (bright is near) and kinds (N,) uint8.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from scenes import nearness, render

PARTS = ("images", "labels", "depth", "kinds")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def _render_some(job: tuple[int, int, int, int, int]) -> tuple[np.ndarray, ...]:
    seed, first, last, height, width = job
    scenes = [render(seed, i, height, width) for i in range(first, last)]
    near = np.stack([nearness(s.depth) for s in scenes])
    return (
        np.stack([s.image for s in scenes]),
        np.stack([s.labels for s in scenes]),
        np.round(near * 255.0).astype(np.uint8),
        np.array([s.kind for s in scenes], np.uint8),
    )


def pack_scenes(out: Path, seed: int, count: int, size: tuple[int, int], workers: int) -> None:
    """Render scenes 0 to `count` - 1 of collection `seed` into a pack."""
    step = 50
    jobs = [(seed, i, min(i + step, count), *size) for i in range(0, count, step)]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(zip(*pool.map(_render_some, jobs)))
    _save(out, {name: np.concatenate(part) for name, part in zip(PARTS, parts)})


def pack_folder(out: Path, pictures: Path, maps: Path | None, kind: str, size: int) -> None:
    """Pack a folder of pictures and, if given, one of maps with the same file stems.

    Args:
        out: folder of the pack.
        pictures: pictures in files; each is cut to a centred square.
        maps: maps in files of the same stems: label numbers or depth, 8 bits, one channel.
        kind: what the maps are, "labels" or "depth".
        size: side of the squares.
    """
    from PIL import Image

    files = list_pictures(pictures)
    arrays = {
        "images": np.stack([_square(f, size, "RGB", Image.Resampling.LANCZOS) for f in files])
    }
    if maps is not None:
        named = {f.stem: f for f in list_pictures(maps)}
        missing = [f.stem for f in files if f.stem not in named]
        if missing:
            raise ValueError(
                f"{maps} lacks a map for {missing[0]!r} and {len(missing) - 1} others."
            )
        how = Image.Resampling.NEAREST if kind == "labels" else Image.Resampling.BILINEAR
        arrays[kind] = np.stack([_square(named[f.stem], size, "L", how) for f in files])
    _save(out, arrays)


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures of a folder, sorted.

    Raises:
        ValueError: there is none.
    """
    files = sorted(f for f in Path(folder).iterdir() if f.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(f"{folder} holds no pictures; give one with {', '.join(PICTURES)} files.")
    return files


def _square(path: Path, size: int, mode: str, how: int) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as file:
        side = min(file.size)
        left, top = (file.width - side) // 2, (file.height - side) // 2
        box = (left, top, left + side, top + side)
        picture = file if mode == "L" else file.convert(mode)  # a map's numbers stay as they are
        return np.asarray(picture.resize((size, size), how, box=box))


def _save(out: Path, arrays: dict[str, np.ndarray]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(out / f"{name}.npy", array)


def load_pack(folder: Path) -> dict[str, np.ndarray]:
    """Open a pack without reading it into memory.

    Raises:
        FileNotFoundError: the folder is no pack.
    """
    found = {p: Path(folder) / f"{p}.npy" for p in PARTS}
    found = {p: f for p, f in found.items() if f.is_file()}
    if "images" not in found:
        raise FileNotFoundError(
            f"{folder} has no images.npy; make a pack with tools/train/data.py."
        )
    return {p: np.load(f, mmap_mode="r") for p, f in found.items()}


@dataclass(frozen=True)
class Photos:
    """Photographs of different sizes from which random squares are cut."""

    pictures: tuple[np.ndarray, ...]  # (H, W, 3) uint8 each

    @classmethod
    def open(cls, folder: Path, shorter: int = 640) -> Photos:
        """Read a folder's pictures, shrunk to at most `shorter` pixels on the shorter side."""
        from PIL import Image

        pictures = []
        picture: Image.Image
        for path in list_pictures(folder):
            with Image.open(path) as file:
                picture = file.convert("RGB")
            scale = min(1.0, shorter / min(picture.size))
            size = (round(picture.width * scale), round(picture.height * scale))
            pictures.append(np.asarray(picture.resize(size, Image.Resampling.LANCZOS)))
        return cls(tuple(pictures))

    def crop(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Cut a random square of random scale, (size, size, 3) uint8, sometimes mirrored."""
        from PIL import Image

        picture = self.pictures[rng.integers(len(self.pictures))]
        longest = min(picture.shape[:2])
        side = round(float(size * (longest / size) ** rng.uniform(0.0, 1.0) ** 0.7))
        top = rng.integers(picture.shape[0] - side + 1)
        left = rng.integers(picture.shape[1] - side + 1)
        cut = picture[top : top + side, left : left + side]
        cut = cut[:, ::-1] if rng.random() < 0.5 else cut
        if side != size:
            how = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
            cut = np.asarray(Image.fromarray(cut).resize((size, size), how))
        return cut


def main() -> None:
    """Make a pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the pack")
    parser.add_argument("--count", type=int, default=8000, help="number of scenes")
    parser.add_argument("--seed", type=int, default=0, help="collection of scenes")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("H", "W"))
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--pictures", type=Path, help="pack this folder of pictures, not scenes")
    parser.add_argument("--maps", type=Path, help="folder of maps with the pictures' names")
    parser.add_argument("--map-kind", choices=("labels", "depth"), default="labels")
    args = parser.parse_args()
    if args.pictures is not None:
        pack_folder(args.out, args.pictures, args.maps, args.map_kind, args.size[0])
    else:
        pack_scenes(args.out, args.seed, args.count, tuple(args.size), args.workers)
    print(f"{len(load_pack(args.out)['images'])} pictures in {args.out}")


if __name__ == "__main__":
    main()
