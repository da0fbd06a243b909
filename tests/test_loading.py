import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from official.multimodal.taming_transformer.filling import load_tensors, parameter_shapes
from official.multimodal.taming_transformer.parameters import is_filled
from official.multimodal.taming_transformer.vqgan import VQModel
from tests.tiny import VQ, tiny_vqgan

ROOT = Path(__file__).resolve().parent.parent


def test_declared_networks_take_no_memory_until_filled():
    model = VQModel(VQ)
    assert all(parameter.numpy().size == 1 for parameter in model.parameters())
    assert not any(is_filled(p) for p in model.parameters() if p.declared_shape != (1,))
    assert all(is_filled(parameter) for parameter in tiny_vqgan().parameters())


def test_missing_and_unknown_names_are_refused():
    model = VQModel(VQ)
    arrays = {name: np.zeros(s, np.float32) for name, s in parameter_shapes(model).items()}
    arrays["decoder.extra"] = arrays.pop("decoder.conv_in.bias")
    with pytest.raises(KeyError, match=r"decoder\.conv_in\.bias.*decoder\.extra"):
        load_tensors(model, arrays)


def test_another_shape_is_refused():
    model = VQModel(VQ)
    arrays = {name: np.zeros(s, np.float32) for name, s in parameter_shapes(model).items()}
    arrays["decoder.conv_in.bias"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"conv_in.bias has shape \(3,\), expected \(64,\)"):
        load_tensors(model, arrays)


def test_loaded_arrays_are_copies():
    model = VQModel(VQ)
    arrays = {name: np.ones(s, np.float32) for name, s in parameter_shapes(model).items()}
    load_tensors(model, arrays)
    arrays["decoder.conv_in.bias"][:] = 7
    assert (model.decoder.conv_in.bias.numpy() == 1).all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_building_and_loading_takes_little_more_than_the_parameters(tmp_path):
    figures = tmp_path / "load.json"
    model = "open_images_distilled_scene_transformer"
    command = [sys.executable, ROOT / "benchmarks" / "load.py", "--model", model, "--json", figures]
    subprocess.run(command, check=True, timeout=600, cwd=tmp_path)
    assert 1.0 <= json.loads(figures.read_text())["memory_ratio"] <= 1.25
