"""Run a block of a page, small networks in place of the models that it names.

python -m tests.page_blocks BLOCK.py prints a JSON list of [expression, dtype, shape] for every
comment that promises an array, after what the block itself prints.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.readme_stand_ins import PROMISE, small_model


def main(block: str) -> None:
    """Run the block and print what became of its promises."""
    from official.multimodal import taming_transformer
    from official.multimodal.taming_transformer.registry import MODELS

    for name in MODELS:
        if re.search(rf"\b{name}\b", block):
            setattr(taming_transformer, name, partial(small_model, name))
    names: dict[str, Any] = {}
    exec(compile(block, "the block", "exec"), names)
    values = [(expression, eval(expression, names)) for expression, _, _ in PROMISE.findall(block)]
    print(json.dumps([[said, str(value.dtype), list(value.shape)] for said, value in values]))


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text(encoding="utf-8"))
