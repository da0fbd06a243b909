"""What a report says: tables, pictures and words about the measured models."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, Sequence

from official.multimodal.taming_transformer.image import write_png
from official.multimodal.taming_transformer.paths import replacing
from official.multimodal.taming_transformer.registry import MODELS
from tools.evaluation import plots
from tools.evaluation.codes import codebook_picture
from tools.evaluation.document import Code, Heading, Part, Picture, Table, Text, html, markdown
from tools.evaluation.measure import Measured, PictureFigures, Reconstructor
from tools.evaluation.pictures import load

SHOWN = 6
"""Best and worst pictures that are shown of a model."""

HEADER = (
    *("model", "size", "pictures", "PSNR, dB", "SSIM", "L1"),
    *("codes used", "usage", "perplexity", "bits a code"),
)
PROTOCOL = (
    "Every picture's largest centred square is resized to the size of the table, bilinear and "
    "antialiased (Pillow), as in the paper. Means are over the pictures; codes are counted over "
    "the whole set. PSNR and SSIM are scikit-image's (Gaussian window, sigma 1.5); L1 is the mean "
    "absolute difference of pixel values in 0 .. 1. Figures at different sizes do not compare."
)
NO_FID = (
    "No FID is computed here, for one depends on the tool and on the reference set. Write both "
    "sets of pictures in the layouts of the usual tools and let one of them do it:"
)
COMMANDS = """\
sh tools/run.sh evaluate export PHOTOS --model NAME --root exported
fidelity --fid --input1 exported/reconstructions --input2 exported/pictures  # torch-fidelity
python evaluator.py exported/pictures.npz exported/reconstructions.npz       # ADM's"""


def write(folder: Path, models: Sequence[tuple[Reconstructor, Measured]], codebook: bool) -> Path:
    """Write a report of some models, with its plots and tables.

    Args:
        folder: Where to; it exists.
        models: Each model with its figures.
        codebook: Draw every model's codebook too.

    Returns:
        The HTML file.
    """
    measured = [found for _, found in models]
    figure = plots.comparison(measured)
    spread = plots.save(figure, folder / "comparison.png")
    parts: list[Part] = [
        Heading("What the codes keep", 1),
        Text(PROTOCOL),
        Table(HEADER, [_row(found) for found in measured]),
        Picture(spread, "Figures over the pictures: box from quartile to quartile, line: median."),
    ]
    for reconstruct, found in models:
        parts += _parts_of(folder, reconstruct, found, codebook)
    parts += [Heading("FID"), Text(NO_FID), Code(COMMANDS), *_published(measured)]
    _write_text(folder / "figures.json", figures_json(measured))
    _write_text(folder / "report.md", markdown(parts))
    _write_text(folder / "report.html", html(parts))
    return folder / "report.html"


def _row(found: Measured) -> list[str]:
    use = found.use
    return [
        *(found.name, f"{found.size}x{found.size}", str(len(found.pictures))),
        *(f"{found.mean('psnr'):.2f}", f"{found.mean('ssim'):.4f}", f"{found.mean('l1'):.4f}"),
        *(f"{use.used} of {use.counts.size}", f"{100 * use.usage:.1f} %"),
        *(f"{use.perplexity:.1f}", f"{use.bits:.2f}"),
    ]


def _parts_of(
    folder: Path, reconstruct: Reconstructor, found: Measured, codebook: bool
) -> list[Part]:
    name, use = found.name, found.use
    table = _write_text(folder / f"{name}_pictures.csv", _csv(found))
    histogram = plots.save(plots.code_histogram(name, use), folder / f"{name}_codes.png")
    parts: list[Part] = [
        Heading(name),
        Text(f"Figures of every picture: {table.name}."),
        Picture(histogram, f"{name}: use of the codes, by number and by rank."),
    ]
    enlarged = sum(one.enlarged for one in found.pictures)
    if enlarged:
        parts.append(Text(f"{enlarged} pictures were smaller than {found.size} and enlarged."))
    if found.skipped:
        parts.append(Text(f"{len(found.skipped)} files passed over: {'; '.join(found.skipped)}"))
    if codebook:
        path = folder / f"{name}_codebook.png"
        write_png(path, codebook_picture(reconstruct.model, use))
        caption = (
            "every code, decoded amidst its own kind; the most used first, row by row; "
            "pale: never used here"
        )
        parts.append(Picture(path, f"{name}: {caption}."))
    ranked = found.ranked()
    for which, chosen in (("worst", ranked[::-1][:SHOWN]), ("best", ranked[:SHOWN])):
        drawn = plots.side_by_side(f"{name}: {which} by PSNR", _pairs(reconstruct, chosen))
        path = plots.save(drawn, folder / f"{name}_{which}.png")
        parts.append(Picture(path, f"{name}: {which} reconstructions by PSNR."))
    return parts


def _pairs(reconstruct: Reconstructor, chosen: Sequence[PictureFigures]) -> list[Any]:
    pairs = []
    for one in chosen:
        before, _ = load(one.path, reconstruct.size)
        pairs.append((one, before, reconstruct(before)[0]))
    return pairs


def _published(measured: Sequence[Measured]) -> list[Part]:
    rows = [(found.name, MODELS[found.name].fid) for found in measured if found.name in MODELS]
    rows = [(name, fid or "none published") for name, fid in rows]
    if not rows:
        return []
    words = "What the models' authors published, with the set that it was measured against:"
    return [Text(words), Table(("model", "published FID"), rows)]


def figures_json(measured: Sequence[Measured]) -> str:
    """Return all figures as JSON; an infinite PSNR (nothing lost) is null."""
    answer = {
        found.name: {
            "size": found.size,
            "pictures": len(found.pictures),
            **{key: _finite(found.mean(key)) for key in ("psnr", "ssim", "l1")},
            "codes": int(found.use.counts.size),
            "codes_used": found.use.used,
            "perplexity": found.use.perplexity,
            "counts": found.use.counts.tolist(),
        }
        for found in measured
    }
    return json.dumps(answer, indent=1, allow_nan=False) + "\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _csv(found: Measured) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["picture", "psnr_db", "ssim", "l1"])
    for one in found.pictures:
        table.writerow([one.path.name, f"{one.psnr:.4f}", f"{one.ssim:.6f}", f"{one.l1:.6f}"])
    return text.getvalue()


def _write_text(path: Path, text: str) -> Path:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
