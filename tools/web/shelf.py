"""The models that the page offers: those whose weights are here; loaded when first asked for."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.cache import bundled_file, native_file
from official.multimodal.taming_transformer.config import Net2NetConfig
from official.multimodal.taming_transformer.manifest import weights_sha256
from official.multimodal.taming_transformer.zoo import ModelRow

Build = Callable[[str], Any]

# tab -> conditions of the models that it can use
TASKS: Mapping[str, tuple[str, ...]] = {
    "reconstruct": ("reconstruction",),
    "segmentation": ("segmentation",),
    "depth": ("depth",),
    "class": ("class",),
    "unconditional": ("unconditional", "coordinates"),
    "complete": ("unconditional", "class", "coordinates"),
}
MEMORY = 6 * 10**9
"""Bytes that models may take together; the one asked for last stays in any case."""


@dataclass(frozen=True)
class Shape:
    """What the page must know of a model.

    Attributes:
        side: Of the pictures that it was trained on, in pixels.
        factor: Pixels along one side of a cell.
        parameters: How many.
        condition: What a transformer is conditioned on; ``""`` of a first stage.
        n_embed: Codes of a transformer's pictures; 0 of a first stage.
        n_labels: Labels that it knows; 0 where it takes no label map.
        names: Names of its labels or classes, where it has some.
        shift: Its label maps' files hold label - 1.
        n_classes: Classes that it knows.
    """

    side: int
    factor: int
    parameters: int
    condition: str = ""
    n_embed: int = 0
    n_labels: int = 0
    names: tuple[str, ...] = ()
    shift: bool = False
    n_classes: int = 0


def shape_of(name: str) -> Shape:
    """Return what the page must know of a model; declares its network to find out."""
    row, model = zoo.model_row(name), zoo.skeleton(name)
    config = row.config
    if not isinstance(config, Net2NetConfig):
        return Shape(model.resolution, model.downsampling, row.parameters)
    n_labels = 0
    if config.condition == "segmentation" and config.cond_stage is not None:
        n_labels = config.cond_stage.ddconfig.in_channels
    return Shape(
        config.window * model.downsampling,
        model.downsampling,
        row.parameters,
        config.condition,
        config.first_stage.n_embed,
        n_labels,
        config.label_names or config.class_names,
        config.shift_labels,
        config.n_classes,
    )


class Shelf:
    """Models with weights, the latest ones kept in memory.

    Args:
        files: Model -> checkpoint, as named on the server's command line.
        build: From a name to the filled network; ``None`` asks the zoo.
    """

    def __init__(self, files: Mapping[str, Path] | None = None, build: Build | None = None):
        self._files = dict(files or {})
        self._build = build or self._from_zoo
        self._loaded: OrderedDict[str, tuple[Any, str]] = OrderedDict()
        self._offered = {task: self._find(task) for task in TASKS}
        every = {name for names in self._offered.values() for name in names}
        # found out now: the web server's threads must not touch the engine
        self._shapes = {name: shape_of(name) for name in every}

    def names(self, task: str) -> list[str]:
        """Return the models for a tab whose weights were here when the server started."""
        return list(self._offered[task])

    def shape(self, name: str) -> Shape:
        """Return what the page must know of a model that it offers."""
        return self._shapes[name]

    def check(self, task: str, name: object) -> str:
        """Return the name of a model if the tab offers it.

        Raises:
            ValueError: It does not.
        """
        if name not in self._offered[task]:
            raise ValueError(f"{str(name)[:80]!r} is not among the models offered here: choose one")
        return str(name)

    def get(self, name: str) -> tuple[Any, str]:
        """Return a filled network and the SHA-256 of its weights; in the engine's thread alone.

        Raises:
            RuntimeError: The weights are gone.
            ValueError, OSError: The weights cannot be read.
        """
        if name not in self._loaded:
            while self._loaded and self._bytes(*self._loaded, name) > MEMORY:
                self._loaded.popitem(last=False)
            model = self._build(name)
            self._loaded[name] = (model, weights_sha256(model))
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _find(self, task: str) -> list[str]:
        rows = [row for row in zoo.list_models() if row.task in TASKS[task] and _of_pictures(row)]
        here = [row.name for row in rows if self._is_here(row.name)]
        # named files first, then the small models, which answer at once
        order = {name: (name not in self._files, "scenes_" not in name) for name in here}
        return sorted(here, key=lambda name: order[name])

    def _is_here(self, name: str) -> bool:
        return name in self._files or bundled_file(name).is_file() or native_file(name).is_file()

    def _from_zoo(self, name: str) -> Any:
        builder = getattr(zoo, name)
        if name in self._files:
            return builder(weights=self._files[name])
        return builder(pretrained=True)

    def _bytes(self, *names: str) -> int:
        return sum(4 * self.shape(name).parameters for name in names)


def _of_pictures(row: ModelRow) -> bool:
    shape = getattr(row.config, "ddconfig", None)  # None: a transformer, or the dVAE
    return shape is None or shape.in_channels == 3


def need_weights(task: str) -> str:
    """Return what to tell where a tab has no model."""
    rows = [row.name for row in zoo.list_models() if row.task in TASKS[task] and row.sources]
    example = rows[0] if rows else "NAME"
    return (
        f"There are no weights for this here. `sh tools/run.sh weights fetch {example}` gets "
        f"some, or start the page with `--weights {example}=FILE`; then start it again."
    )
