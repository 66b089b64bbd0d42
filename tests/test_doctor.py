"""`pairloom doctor`: what it finds, and that nothing broken can break it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_plugins import command, package

from pairloom.doctor import Finding, machine, packages, probe
from pairloom.doctor.finding import size
from pairloom.doctor.probe import Probe, _codecs, _gpu


def says_of_itself(folder: Path, name: str, version: str, *needs: str) -> Path:
    """What an installer leaves of a package beside its code."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    (about / "METADATA").write_text("\n".join(lines) + "\n")
    return folder


def test_a_sound_machine_has_no_problem(tmp_path: Path) -> None:
    done = command("", "doctor", tmp_path, "--json")
    found = json.loads(done.stdout)["findings"]
    whats = [one["what"] for one in found]
    assert {"Python", "Pairloom", "packages", "cores", "memory", "disk", "codecs", "resize", "model", "GPU"} <= set(whats)
    assert done.returncode == 0 and [one for one in found if one["level"] == "problem"] == []
    assert all(one["fix"] for one in found if one["level"] != "ok")


def test_the_table_has_every_line_to_type_whole(tmp_path: Path) -> None:
    broken = package(tmp_path, "broken", "readers", "xyz = broken:read", "raise RuntimeError('no licence key')\n")
    says_of_itself(tmp_path, "pairloom", "0.1.0", "numpy>=2", "pillow>=99", "nowhere-to-be-found>=3")
    done = command(broken, "doctor")
    assert done.returncode == 1 and "3 problems" in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "pip uninstall broken" in lines and "pip install 'nowhere-to-be-found>=3'" in lines
    assert "pip install 'pillow>=99'" in lines and "no licence key" in " ".join(lines)


def test_a_broken_torch_is_told_of_and_harms_nothing(tmp_path: Path) -> None:
    says_of_itself(tmp_path, "torch", "2.4.0")
    (tmp_path / "torch.py").write_text("import os\nprint('noise')\nos.kill(os.getpid(), 11)\n")
    done = command(tmp_path, "doctor", "--json")
    found = {one["what"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1 and found["torch"]["said"] == "can't be imported: died of SIGSEGV"
    assert found["codecs"]["level"] == "ok"


def test_torch_is_never_imported_into_the_command() -> None:
    code = (
        "import sys, pairloom.doctor as d; d.examine(); print([m for m in ('torch', 'torchvision', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("torch", "vision", "needs", "said"),
    [
        ("2.4.1", "0.19.1", "torch==2.4.1", "made for torch 2.4.1"),
        ("2.5.0", "0.19.1", "torch==2.4.1", "was made for torch 2.4.1, but here is torch 2.5.0"),
        ("2.4.1+cpu", "0.19.1", "torch (==2.4.1)", "was built for another kind of torch, but here is torch 2.4.1+cpu"),
        ("2.4.1+cu128", "0.19.1+cu128", "torch==2.4.1", "made for torch 2.4.1+cu128"),
        ("2.5.0", "0.20.0", "torch==2.5", "made for torch 2.5.0"),
    ],
)
def test_a_torchvision_of_another_torch(
    torch: str, vision: str, needs: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(says_of_itself(says_of_itself(tmp_path, "torch", torch), "torchvision", vision, "numpy", needs))
    [found] = packages._torchvision()
    assert said in found.said and found.level == ("problem" if "but" in said else "ok")
    assert bool(found.fix) == (found.level == "problem")


def test_needs_are_read_from_the_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ('ray[client]>=2.40; extra == "ray"', "numpy>=2.0", "pyyaml", "a.b (>=1.2) ; python_version < '4'")
    monkeypatch.syspath_prepend(says_of_itself(tmp_path, "pairloom", "0.1.0", *needs))
    found = [(need.package, need.least, need.extra) for need in packages.needed()]
    assert found == [("ray", "2.40", "ray"), ("numpy", "2.0", None), ("pyyaml", "0", None), ("a.b", "1.2", None)]


@pytest.mark.parametrize(("old", "new"), [("2.9", "2.10"), ("1.0", "1.0.1"), ("2.4.0+cpu", "2.4.1"), ("3rc1", "3.1")])
def test_versions_are_compared_by_number(old: str, new: str) -> None:
    assert packages._release(old) < packages._release(new) and packages._release("2.0") == packages._release("2")


def test_a_probe_that_hangs_or_fails() -> None:
    assert Probe("import time; time.sleep(60)", 0.5).told() == "took longer than 0.5 seconds"
    assert Probe("raise ImportError('libnothing.so.1: no such file')").told() == "ImportError: libnothing.so.1: no such file"
    assert Probe("raise SystemExit(3)").told() == "ended with 3"
    assert Probe("print('noise', end=''); told['x'] = 1").told() == {"x": 1, "whole": True}
    assert str(Probe("raise SystemExit(0)").told()).startswith("ended ")


def test_limits_of_cgroups(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    groups.write_text("0::/outer/inner\n")
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    assert (machine.cpu_limit(tmp_path, groups), machine.memory_limit(tmp_path, groups)) == (None, None)
    for folder, cpu, memory in ((inner, "max 100000", "max"), (inner.parent, "150000 100000", str(3 << 30))):
        (folder / "cpu.max").write_text(f"{cpu}\n")
        (folder / "memory.max").write_text(f"{memory}\n")
    assert (machine.cpu_limit(tmp_path, groups), machine.memory_limit(tmp_path, groups)) == (1.5, 3 << 30)
    assert machine.cpu_limit(tmp_path, tmp_path / "missing") is None


def test_limits_of_cgroups_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "groups").write_text("4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n")
    for name, folder, value in (
        ("cpu.cfs_quota_us", "cpu", "200000"),
        ("cpu.cfs_period_us", "cpu", "100000"),
        ("memory.limit_in_bytes", "memory", "1073741824"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(f"{value}\n")
    assert machine.cpu_limit(tmp_path, tmp_path / "groups") == 2.0
    assert machine.memory_limit(tmp_path, tmp_path / "groups") == 1 << 30
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert machine.memory_limit(tmp_path, tmp_path / "groups") is machine.cpu_limit(tmp_path, tmp_path / "groups") is None


def test_narrow_machines_are_told_how_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(machine, "cpu_limit", lambda: 8.5)
    monkeypatch.setattr(machine, "memory_limit", lambda: 5 << 30)
    monkeypatch.setattr(machine, "available", lambda: 100 << 30)
    cores, memory = machine._cores_and_memory()
    assert (cores.level, cores.fix) == ("note", "pairloom run … --workers 8")
    assert (memory.level, memory.fix) == ("note", "pairloom run … --workers 3") and "5.0 GiB" in memory.said


def test_where_an_output_is_to_go(tmp_path: Path) -> None:
    [found] = machine._disk(tmp_path / "not" / "yet")
    assert found.said.endswith(f"free at {tmp_path}")
    (tmp_path / "file").write_text("x")
    [found] = machine._disk(tmp_path / "file")
    assert (found.level, "is a file" in found.said) == ("problem", True)


def test_shared_memory(tmp_path: Path) -> None:
    assert list(machine._shared(tmp_path / "none")) == []
    [found] = machine._shared(tmp_path)
    assert found.level == "ok"


@pytest.mark.parametrize(
    ("torch", "onnx", "there", "levels"),
    [
        (None, [], False, {"GPU": "ok"}),
        (None, [], True, {"GPU": "note"}),
        ({"cuda": None, "gpus": [], "mps": False}, [], True, {"GPU": "note"}),
        ({"cuda": "12.8", "gpus": [], "mps": False}, [], True, {"GPU": "problem"}),
        ({"cuda": "12.8", "gpus": [], "mps": False}, [], False, {"GPU": "ok"}),
        ({"cuda": "12.8", "gpus": [["H100", 80 << 30]], "mps": False}, ["CPU"], True, {"GPU": "ok", "ONNX Runtime": "note"}),
        ({"cuda": "12.8", "gpus": [["H100", 80 << 30]], "mps": False}, ["CUDAExecutionProvider"], True, {"GPU": "ok"}),
        ({"cuda": None, "gpus": [], "mps": True}, [], False, {"GPU": "ok"}),
        ("ImportError: libcudnn.so.9", [], True, {"torch": "problem"}),
    ],
)
def test_gpus(torch: dict[str, object] | str | None, onnx: list[str], there: bool, levels: dict[str, str]) -> None:
    found = list(_gpu(torch, onnx, there))
    assert {one.what: one.level for one in found} == levels
    assert all(one.fix for one in found if one.level != "ok")


def test_codecs_that_are_missing() -> None:
    told = {"codecs": dict.fromkeys((*probe._CODECS, "littlecms2"), True) | {"avif": False}, "kernel": "pillow"}
    codecs, resize, planes = _codecs(told | {"planes": "simplejpeg"})
    assert "can't read AVIF" in codecs.said and (codecs.level, resize.level, planes.level) == ("note", "note", "note")
    assert all(one.fix for one in (codecs, resize, planes))


def test_sizes_for_people() -> None:
    assert [size(value) for value in (64 << 20, 3 << 29, 0)] == ["64 MiB", "1.5 GiB", "0 MiB"]
    assert Finding("x", "ok", "y").fix == ""
