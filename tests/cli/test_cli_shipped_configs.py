import importlib
import pathlib
import sys

import pytest

import noisyjax
from noisyjax.cli import shipped_configs

ROOT = pathlib.Path(noisyjax.__file__).parents[1]


def test_a_config_of_the_package_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["train", "--config=configs/cm_trace.py:digits", "--config", "configs/adl.py"]
    ours = [f"--config={ROOT}/configs/cm_trace.py:digits", "--config", f"{ROOT}/configs/adl.py"]
    assert shipped_configs.found(given) == ["train", *ours]
    others = ["--config=configs/none.py", "--config=adl.py", "--workdir=configs/adl.py"]
    assert shipped_configs.found(others) == others
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "cm_trace.py").touch()
    assert shipped_configs.found(given)[1] == given[1]


@pytest.mark.parametrize("place", ["share", "lib/site/share"])
def test_a_wheel_has_put_them_where_it_says(tmp_path, monkeypatch, place):
    site, configs = tmp_path / "lib/site", tmp_path / place / "noisyjax/configs"
    listed = []
    for name in ("noisyjax/cli/train.py", "../../share/noisyjax/configs/cm_trace.py"):
        listed.append(importlib.metadata.PackagePath(name))
        listed[-1].dist = importlib.metadata.PathDistribution(site / "noisyjax.dist-info")
    monkeypatch.setattr(noisyjax, "__file__", str(site / "noisyjax" / "__init__.py"))
    monkeypatch.setattr(importlib.metadata, "files", lambda _: listed)
    assert shipped_configs.folder() is None
    configs.mkdir(parents=True)
    (configs / "cm_trace.py").touch()
    assert shipped_configs.folder() == configs


def test_a_package_without_them_finds_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(noisyjax, "__file__", str(tmp_path / "noisyjax" / "__init__.py"))
    monkeypatch.setattr(importlib.metadata, "files", lambda _: None)
    assert shipped_configs.folder() is None
    assert shipped_configs.found(["--config=configs/adl.py"]) == ["--config=configs/adl.py"]


def test_own_configs_import_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = [entry for entry in sys.path if entry and not (pathlib.Path(entry) / "configs").is_dir()]
    monkeypatch.setattr(sys, "path", kept)
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    shipped_configs.offer()
    monkeypatch.setitem(sys.modules, "configs", sys.modules["configs"])
    module = importlib.import_module("configs.cm_trace")
    assert pathlib.Path(module.__file__) == ROOT / "configs" / "cm_trace.py"
    del sys.modules["configs.cm_trace"]
