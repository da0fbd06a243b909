"""Gather the freely licensed photographs that the image VQGAN was trained on, from Debian packages.

    mkdir debs && cd debs && apt-get update
    apt-get download mate-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 \
        plasma-workspace-wallpapers ukui-wallpapers
    for f in *.deb; do dpkg -x $f unpacked; done
    python tools/train/photos.py --unpacked debs/unpacked --out runs/photos

Writes `train/` and `held_out/`, shrunk to 640 pixels on the shorter side. Authors and licences are
in PHOTO_CREDITS.md beside this file; the pictures themselves are no part of the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELD_OUT = (
    "Bridge_by_Sander_Klootwijk", "aitzgorri_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi",
    "friends_by_Aitzol_Berasategi", "EveningGlow", "Garden", "Storm",
)  # fmt: skip
TRAIN = (
    "Dragonfly_by_Bolly", "Picture_0B_by_freespace", "Picture_1A_by_freespace",
    "Wine_by_Jakkub_Mede", "analogpattern_by_Peter_Nerlich", "free_by_Peter_Nerlich",
    "greentock_by_Peter_Nerlich", "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi", "umang_by_Abhishek_Mudgal", "Infinite-Sea_by_Aury88",
    "Kleiber_by_Lukas_Baubkus", "Painting-Colors_by__herobrine7gamer", "Altai", "Autumn",
    "BytheWater", "Canopee", "ColdRipple", "ColorfulCups", "DarkestHour", "Elarun", "FallenLeaf",
    "Grey", "IceCold", "Kite", "OneStandsOut", "PastelHills", "Path", "SafeLanding", "Volna",
    "summer_1am", "Aqua", "Blinds", "Dune", "FreshFlower", "GreenMeadow", "LadyBird", "RainDrops",
    "TwoWings", "Wood", "YellowFlower", "Elephants", "goldfish", "2004default", "string",
)  # fmt: skip


def find(unpacked: Path, name: str) -> Path:
    """Find a picture by its stem, or by its folder as Plasma's wallpapers are laid out.

    Raises:
        FileNotFoundError: no such picture.
    """
    plasma = sorted(
        unpacked.glob(f"**/wallpapers/{name}/contents/images/*.*"),
        key=lambda path: (path.stat().st_size, path.name),
    )
    single = sorted(f for f in unpacked.glob(f"**/backgrounds/**/{name}.*") if f.suffix != ".xml")
    if not (plasma or single):
        raise FileNotFoundError(f"{unpacked} holds no {name}; unpack the packages named above.")
    return (plasma or single)[-1]


def main() -> None:
    """Copy the photographs, shrunk."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unpacked", type=Path, required=True, help="where dpkg -x wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    args = parser.parse_args()
    for part, names in (("train", TRAIN), ("held_out", HELD_OUT)):
        (args.out / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            with Image.open(find(args.unpacked, name)) as file:
                picture = file.convert("RGB")
            scale = 640.0 / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            picture.resize(size, Image.Resampling.LANCZOS).save(args.out / part / f"{name}.png")
    print(f"{len(TRAIN)} and {len(HELD_OUT)} photographs in {args.out}")


if __name__ == "__main__":
    main()
