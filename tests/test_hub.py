"""`megengine.hub` for real, against this repository as a local git remote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import hubconf
from official.multimodal.taming_transformer.registry import MODELS
from tests.hub_remote import make_remote

ROOT = Path(__file__).resolve().parent.parent

WRAPPERS = ("Reconstruction", "ConditionalSampler", "FastSampler", "Completion")

LOAD = """
import json, megengine as mge
mge.set_default_device("cpu0")
names = mge.hub.list("somebody/models:main", protocol="SSH")
text = mge.hub.help("somebody/models:main", "vqgan_openimages_f4_8192_noattn", protocol="SSH")
model = mge.hub.load("somebody/models:main", "vqgan_openimages_f4_8192_noattn", protocol="SSH")
wrapper = mge.hub.load("somebody/models:main", "Reconstruction", model, protocol="SSH")
print(json.dumps([names, text, type(model).__name__, type(wrapper).__name__]))
"""

COLLISION = """
import sys
sys.path.insert(0, sys.argv[1])
import official.multimodal.taming_transformer
sys.path.pop(0)
sys.path.insert(0, sys.argv[2])
import runpy
runpy.run_path(sys.argv[2] + "/hubconf.py")
"""


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """The environment in which the hub finds the work tree as it is."""
    return make_remote(tmp_path_factory.mktemp("remote"))


def test_list_help_and_load_over_git(remote, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, env=remote, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    names, text, model, wrapper = json.loads(done.stdout.splitlines()[-1])
    assert set(names) == {*MODELS, *WRAPPERS}
    assert "pretrained: Fetch the published weights" in text
    assert (model, wrapper) == ("VQModel", "Reconstruction")


def test_a_foreign_official_package_is_named_not_used(tmp_path):
    package = tmp_path / "other" / "official" / "multimodal" / "taming_transformer"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", COLLISION, str(tmp_path / "other"), str(ROOT)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the package `official` was loaded before from")
    assert "new Python process" in last


def test_hubconf_offers_every_model_and_nothing_else():
    offered = {name for name in vars(hubconf) if not name.startswith("__")} - {"dependencies"}
    assert offered == {*MODELS, *WRAPPERS}
