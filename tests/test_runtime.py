"""`tune_cpu` changes the whole process, so each case runs in one of its own."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from official.multimodal.taming_transformer import runtime

ROOT = Path(__file__).resolve().parent.parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' /proc")
SETTINGS = ("MGE_DEFAULT_DEVICE", "MKL_DEBUG_CPU_TYPE", "GLIBC_TUNABLES")
# a process inherits its parent's slack: here Linux' usual one, nanoseconds
USUAL = "import ctypes; ctypes.CDLL(None).prctl(29, ctypes.c_ulong(50000))"
SHOW = """
import json, os, sys
{usual}
{before}
from official.multimodal.taming_transformer import tune_cpu
first = tune_cpu({arguments})
import megengine, numpy
value = float((megengine.Tensor(numpy.ones(3, numpy.float32)) * 2).sum().numpy())
again = tune_cpu({arguments})
print(json.dumps([first.done, first.left, megengine.get_default_device(),
                  os.environ.get("MKL_DEBUG_CPU_TYPE"), value, again.left]))
"""


def run(arguments: str = "", before: str = "", **variables: str):
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    environment = {k: v for k, v in environment.items() if not k.startswith("MALLOC_")}
    environment.update(variables, PYTHONPATH=str(ROOT))
    usual = USUAL if sys.platform == "linux" else ""
    script = SHOW.format(arguments=arguments, before=before, usual=usual)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_it_says_what_it_did_and_starts_quietly():
    (done, left, device, mkl, value, _), stderr = run()
    assert f"device: {device}" in done
    assert device.startswith("multithread")
    assert value == 6.0
    assert len(done) + len(left) == 4
    assert any(line.startswith("timers: 5 ms") for line in done) == (sys.platform == "linux")
    assert (mkl == "5") == any(line.startswith("MKL: AVX2") for line in done)
    assert (mkl == "7") == any(line.startswith("MKL: AVX-512") for line in done)
    if sys.version_info >= (3, 9):  # on 3.8 MegEngine prints while it is imported
        assert "CUDA" not in stderr


AVX512 = "avx2 avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "path"),
    [
        ("AuthenticAMD", "26", AVX512, "7"),  # Zen 5
        ("AuthenticAMD", "26", "sse4_2 avx2", "5"),  # a hypervisor that hides AVX-512
        ("AuthenticAMD", "25", AVX512, "5"),  # Zen 4
        ("AuthenticAMD", "23", "avx avx2", "5"),
        ("HygonGenuine", "24", "avx2", "5"),
        ("AuthenticAMD", "21", "avx", None),
        ("AuthenticAMD", "unknown", "", None),
    ],
)
def test_mkl_takes_the_widest_units_that_are_fast(vendor, family, flags, path):
    processor = f"vendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: fpu {flags}\n\n"
    assert runtime.mkl_path(processor * 2) == path


def test_threads_can_be_chosen():
    (_, _, device, _, value, _), _ = run("threads=1")
    assert device == "multithread1"
    assert value == 6.0


def test_what_the_user_has_set_is_left():
    (_, left, device, mkl, _, _), _ = run(
        MGE_DEFAULT_DEVICE="cpu0", MKL_DEBUG_CPU_TYPE="4", MALLOC_ARENA_MAX="2"
    )
    assert (device, mkl) == ("cpu0", "4")
    assert "device: MGE_DEFAULT_DEVICE is cpu0" in left
    assert "MKL_DEBUG_CPU_TYPE: the environment says 4" in left
    assert "allocator: MALLOC_ARENA_MAX is 2" in left


def test_huge_pages_are_left_to_glibc():
    (_, left, _, _, _, _), _ = run(GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
    if sys.platform == "linux":
        assert "allocator: GLIBC_TUNABLES is glibc.malloc.hugetlb=1" in left


def test_the_launcher_sets_the_same_tunables():
    command = [line for line in (ROOT / "tools" / "run.sh").read_text().splitlines()
               if line.startswith(("heap=", "GLIBC_TUNABLES="))]  # fmt: skip
    shown = subprocess.run(
        ["sh", "-c", "\n".join(["unset GLIBC_TUNABLES", *command, 'echo "$GLIBC_TUNABLES"'])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.strip() == runtime.GLIBC_TUNABLES


@linux
@pytest.mark.parametrize(("tuned", "slack"), [(True, 5_000_000), (False, 50_000)])
def test_megengine_s_polling_thread_gets_the_slack(tuned, slack):
    program = f"""
{USUAL}
import time
from pathlib import Path
from official.multimodal.taming_transformer import tune_cpu
if {tuned}:
    tune_cpu()
import megengine
(megengine.Tensor([1.0]) * 2).numpy()
names = {{}}
while "CompNodeSync" not in names:  # threads take their names when they first run
    time.sleep(0.01)
    names = {{(task / "comm").read_text().strip(): task.name
             for task in Path("/proc/self/task").iterdir()}}
print(Path("/proc", names["CompNodeSync"], "timerslack_ns").read_text())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    if "PermissionError" in done.stderr:
        pytest.skip("another thread's slack is shown to who may set priorities (CAP_SYS_NICE)")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == slack


@linux
def test_a_slack_that_the_program_has_chosen_is_left():
    (_, left, _, _, _, _), _ = run(before=USUAL.replace("50000", "70000"))
    assert "timers: their slack is 70000 ns already" in left


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names MKL")
def test_on_macos_it_chooses_the_threads_and_leaves_the_rest():
    # as its code sees macOS, with MegEngine imported already
    before = "import megengine; sys.platform = 'darwin'"
    (done, left, device, _, value, _), _ = run(before=before)
    assert done == [f"device: {device}"]
    assert left == [
        "MKL: the processor's make is read on Linux only",
        "allocator: not glibc's",
        "timers: not Linux'",
    ]
    assert value == 6.0


@linux
def test_under_another_c_library_the_allocator_is_left():
    before = "import platform; platform.libc_ver = lambda *_: ('', '')"  # what musl's Python says
    (done, left, _, _, value, _), _ = run(before=before)
    assert "allocator: not glibc's" in left
    assert any(line.startswith("timers: 5 ms") for line in done)
    assert value == 6.0


def test_a_device_that_the_program_has_chosen_is_left():
    before = "import megengine; megengine.set_default_device('cpu1')"
    (_, left, device, _, _, _), _ = run(before=before)
    assert device == "cpu1"
    assert "device: the program has chosen cpu1" in left


def test_a_second_call_changes_nothing_more():
    (_, _, device, _, _, again), _ = run()
    assert f"device: the program has chosen {device}" in again


@pytest.mark.parametrize("threads", ["0", "-1", "1.5", "'2'"])
def test_threads_that_are_no_count_are_refused(threads):
    with pytest.raises(AssertionError, match="threads must be a whole number >= 1"):
        run(f"threads={threads}")


def test_importing_the_package_tunes_and_prints_nothing():
    code = (
        "import os; before = dict(os.environ)\n"
        "import official.multimodal.taming_transformer, megengine\n"
        "assert dict(os.environ) == before or set(os.environ) - set(before) <= {'MGE_HOME'}\n"
        "print(megengine.get_default_device())"
    )
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "xpux"
    if sys.version_info >= (3, 9):
        assert done.stderr == ""


@linux
def test_freed_pages_between_used_ones_are_given_back():
    # what is freed lies between two arrays in use: glibc keeps it until it is told
    program = """
import numpy as np
from benchmarks.worker import status_mb
from official.multimodal.taming_transformer.runtime import release_memory
arrays = [np.ones(3 << 17, np.uint8) for _ in range(400)]
del arrays[1::2]
before = status_mb("RssAnon")
assert release_memory()
assert before - status_mb("RssAnon") > 60, (before, status_mb("RssAnon"))
"""
    environment = {**os.environ, "GLIBC_TUNABLES": runtime.GLIBC_TUNABLES, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
@pytest.mark.parametrize("tuned", [True, False])
def test_small_requests_do_not_settle_between_large_buffers(tuned):
    program = f"""
import ctypes
from official.multimodal.taming_transformer import runtime
if {tuned}:
    assert any(line.startswith("allocator") for line in runtime.tune_cpu().done)
library = ctypes.CDLL(None)
for function in (library.malloc, library.aligned_alloc):
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_size_t] * 2
library.malloc.argtypes = [ctypes.c_size_t]
buffers = [library.aligned_alloc(64, 1 << 20) for _ in range(40)]
small = [library.malloc(40) for _ in range(2000)]
print(sum(min(buffers) < block < max(buffers) for block in small))
"""
    environment = {**os.environ, "GLIBC_TUNABLES": runtime.GLIBC_TUNABLES, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert (int(done.stdout.split()[-1]) == 0) == tuned
