"""Tensors of unwritten memory: what they have, when memory is taken, and when it goes."""

import platform
import subprocess
import sys

import megengine as mge
import megengine.functional as F
import numpy as np
import pytest

from official.multimodal.taming_transformer.host import writable
from official.multimodal.taming_transformer.unwritten import unwritten
from tests.tuned import number_printed

ROOM = """
import time
import megengine as mge
from benchmarks.worker import status_mb
from official.multimodal.taming_transformer.host import writable
from official.multimodal.taming_transformer.runtime import tune_cpu
from official.multimodal.taming_transformer.unwritten import unwritten
tune_cpu()
writable(*unwritten([(8,)])).fill(1)  # wakes the threads up
start = status_mb("VmRSS")
(tensor,) = unwritten([(60, 1 << 20)])  # 252 MB
untouched = status_mb("VmRSS") - start
array = writable(tensor)
array.fill(1)
touched = status_mb("VmRSS") - start
del tensor, array
mge._full_sync()
for _ in range(100):  # MegEngine's thread frees it
    if status_mb("VmRSS") - start < 20:
        break
    time.sleep(0.1)
left = status_mb("VmRSS") - start
"""


@pytest.mark.parametrize("device", ["cpu0", "multithread2"])
@pytest.mark.parametrize("shape", [(1,), (3,), (700, 900), (2, 3, 4, 5), (1 << 16,), (2, 1 << 16)])
def test_what_is_written_is_what_the_tensor_has(shape, device):
    values = np.random.default_rng(0).random(shape, np.float32)
    before = mge.get_default_device()
    mge.set_default_device(device)
    try:
        (tensor,) = unwritten([shape])
        writable(tensor)[...] = values
        assert str(tensor.device).startswith(device)
        assert np.array_equal(tensor.numpy(), values)
        assert np.array_equal((tensor * 2).numpy(), values * 2)
        assert (F.zeros(shape).numpy() == 0).all()  # nobody else has its memory
        assert np.array_equal(tensor.numpy(), values)
    finally:
        mge.set_default_device(before)


def test_numbers_outlive_the_tensor_that_an_operator_still_reads():
    for _ in range(50):
        (tensor,) = unwritten([(300, 300)])
        writable(tensor).fill(2)
        result = F.matmul(tensor, tensor)
        del tensor
        unwritten([(300, 300)])
        assert (result.numpy() == 1200).all()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
@pytest.mark.parametrize(
    ("what", "low", "high"), [("untouched", 0, 20), ("touched", 240, 270), ("left", -20, 20)]
)
def test_memory_is_taken_when_written_to_and_given_back(what, low, high):
    assert low <= number_printed(ROOM + f"print({what})") < high


def test_a_copy_on_another_device_is_made_though_the_tensor_goes():
    for _ in range(20):
        (tensor,) = unwritten([(300, 300)])
        writable(tensor).fill(2)
        copy = tensor.to("cpu1")
        del tensor
        mge._full_sync()
        assert (copy.numpy() == 2).all()


def test_a_program_ends_that_still_has_such_tensors():
    program = (
        "from official.multimodal.taming_transformer.unwritten import unwritten;"
        "kept = unwritten([(1000, n + 1) for n in range(40)]); kept += [kept[0] * 1]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
