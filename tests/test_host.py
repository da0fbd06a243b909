"""NumPy on the memory of tensors: what it shows, and where."""

import megengine.functional as F
import numpy as np
import pytest
from megengine import Tensor

from official.multimodal.taming_transformer import host


def test_a_transposed_tensor_is_seen_once_it_has_been_laid_out():
    products = Tensor(np.random.default_rng(0).random((1, 1024, 352, 1), np.float32))
    kernels = Tensor(np.random.default_rng(1).random((1024, 1024, 1, 1), np.float32))
    for _ in range(3):
        columns = F.conv2d(products, kernels).reshape(16, 64, 4, 88)  # takes a while
        heads = columns.transpose(2, 0, 1, 3)
        seen = host.on_host(heads).copy()
        assert np.array_equal(seen, heads.numpy())


@pytest.mark.parametrize(
    ("device", "found", "expected"),
    [
        ("gpu0", "cpu", True),
        ("gpu0:0", "cpu", True),
        ("xpux:0", "gpu", True),  # what a tensor of a program says that has chosen nothing
        ("xpux:0", "cpu", False),
        ("cpu0:0", "gpu", False),
        ("multithread2:0", "gpu", False),
    ],
)
def test_the_default_device_is_a_gpu_where_there_is_one(monkeypatch, device, found, expected):
    monkeypatch.setattr(host, "what_is_xpu", lambda: found)
    assert host.is_gpu(device) is expected
