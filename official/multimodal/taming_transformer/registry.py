"""What the zoo knows of a model, and how a builder comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Union

from .config import DVAEConfig, Net2NetConfig, VQModelConfig
from .dvae import DVAE
from .layers import Network
from .loading import initialise, load_checkpoint, parameter_shapes
from .net2net import Net2NetTransformer
from .pretrained import LICENCES, SOURCES
from .sampling import SamplingParams
from .sources import Source
from .vqgan import build_vqgan
from .weights import find_weights

Config = Union[VQModelConfig, DVAEConfig, Net2NetConfig]
Builder = Callable[..., Any]


@dataclass(frozen=True)
class ModelRow:
    """What there is to know of a model before building it.

    Attributes:
        name: Name of the builder and of the weights.
        config: Shapes of its networks.
        doc: One sentence: what it is and what it was trained on.
        sampling: Settings that its authors recommend; ``None`` for a model that draws nothing.
        fid: Published FID with its reference set, or ``""``.
        sources: Where its weights can be had, in the order they are tried.
        licence: What is known of the weights' licence.
    """

    name: str
    config: Config
    doc: str
    sampling: SamplingParams | None
    fid: str
    sources: tuple[Source, ...]
    licence: str

    @property
    def task(self) -> str:
        """``"reconstruction"``, or what the transformer is conditioned on."""
        return self.config.condition if isinstance(self.config, Net2NetConfig) else "reconstruction"

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        total = 0
        for shape in expected_shapes(self.name).values():
            size = 1
            for side in shape:
                size *= side
            total += size
        return total


_ROWS: dict[str, ModelRow] = {}
MODELS: Mapping[str, ModelRow] = _ROWS


def skeleton(name: str) -> Any:
    """Return the named network declared but not filled; costs no memory worth mentioning.

    Raises:
        ValueError: There is no such model; the message lists those that there are.
    """
    config = model_row(name).config
    if isinstance(config, Net2NetConfig):
        return Net2NetTransformer(config)
    return DVAE(config) if isinstance(config, DVAEConfig) else build_vqgan(config)


def expected_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return parameter name -> shape of the named model.

    Raises:
        ValueError: There is no such model.
    """
    return parameter_shapes(skeleton(name))


def all_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the expected shapes of every model: what a file of another one is compared with."""
    return {name: expected_shapes(name) for name in _ROWS}


def model_row(name: str) -> ModelRow:
    """Return the named row of the table.

    Raises:
        ValueError: There is no such model; the message lists those that there are.
    """
    if name not in _ROWS:
        raise ValueError(f"there is no model {name!r}; models are: {', '.join(_ROWS)}")
    return _ROWS[name]


def list_models() -> list[ModelRow]:
    """Return every row of the table, in its order."""
    return list(_ROWS.values())


def register(
    name: str,
    config: Config,
    doc: str,
    sampling: SamplingParams | None = None,
    fid: str = "",
) -> Builder:
    """Enter a row into the table and return its builder.

    Args:
        name: Name of the model; the builder's too.
        config: Shapes of its networks.
        doc: One sentence for the builder's docstring.
        sampling: Settings that its authors recommend.
        fid: Published FID with its reference set.

    Returns:
        ``builder(pretrained=False, *, weights=None)``.
    """
    row = ModelRow(name, config, doc, sampling, fid, SOURCES.get(name, ()), LICENCES.get(name, ""))
    _ROWS[name] = row

    def build(pretrained: bool = False, *, weights: str | Path | None = None) -> Network:
        if pretrained and weights is not None:
            raise ValueError("give either pretrained=True or weights=, not both")
        model: Network = skeleton(name)
        model.name = name
        if pretrained:
            path = find_weights(name, parameter_shapes(model), candidates=all_shapes)
            load_checkpoint(model, path)
        elif weights is not None:
            load_checkpoint(model, weights, candidates=all_shapes)
        else:
            initialise(model)
        model.eval()
        return model

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""{doc}

    Args:
        pretrained: Fetch the published weights, or take them from the cache.
        weights: Load this file instead: ``.safetensors``, ``.ckpt``/``.pth``/``.pt``/``.bin`` or
            ``.pkl``.

    Returns:
        The network, ready for inference; with neither argument its values are random.

    Raises:
        ValueError: Both arguments are given, or the file holds another model.
        FileNotFoundError: There is no such file.
        WeightsUnavailableError: No source of the published weights could be used.
    """
    return build
