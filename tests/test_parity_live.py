"""Full-size networks equal the PyTorch original, live: its checkpoint, our reader, same inputs."""

from __future__ import annotations

import pytest

from tests.reference import live, ours
from tests.reference.cases import FULL
from tests.reference.ours import TOLERANCE
from tests.reference_env import reference_python
from tests.test_parity import STAGES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", list(FULL))
def test_full_size_network_equals_the_original(name, tmp_path):
    expected = live.ask(reference_python(), name, tmp_path)
    model = live.load_ours(name, tmp_path)
    for file in tmp_path.iterdir():  # up to 2 GB: pytest would keep them
        file.unlink()
    rows = ours.compare(FULL[name], model, expected)
    assert STAGES[FULL[name].kind] <= {r.stage for r in rows}
    worse = {r.stage: r.error for r in rows if r.error > TOLERANCE}
    assert not worse
