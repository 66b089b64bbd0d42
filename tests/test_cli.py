"""The command as a user meets it: exit codes, messages, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import webdataset
from conftest import write_pairs

import pairloom

VERBS = [
    "check",
    "doctor",
    "export",
    "init",
    "models",
    "preview",
    "repair",
    "report",
    "run",
    "schema",
    "select",
    "steps",
    "train",
    "verify",
]


def pairloom_command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pairloom", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


def test_version() -> None:
    assert pairloom_command("--version").stdout == f"pairloom {pairloom.__version__}\n"


def test_help_comes_before_the_heavy_imports() -> None:
    code = (
        "import sys, pairloom.cli as cli; sys.argv = ['pairloom', '--help']\ntry: cli.main()\nfinally: print(sorted(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "preview" in said and "'pairloom.cli.run'" in said
    for heavy in ("numpy", "pyarrow", "pydantic", "PIL", "onnxruntime", "torch", "jinja2"):
        assert f"'{heavy}'" not in said


def test_names_of_functions_and_modules_keep_apart() -> None:
    """`pairloom.run` is a function and a module, whichever is asked for first."""
    code = (
        "import pairloom.run, pairloom.verify, pairloom\n"
        "import pairloom.compare.judge\n"
        "from pairloom.run import run_shard\n"
        "import types\n"
        "assert all(isinstance(getattr(pairloom, name), types.FunctionType) for name in ('run', 'verify', 'compare', 'open'))\n"
        "assert pairloom.pipeline.run is pairloom.run and set(pairloom.__all__) < set(dir(pairloom))\n"
        "assert not hasattr(pairloom, 'nothing')\n"
        "assert pairloom.api.__all__ == pairloom.__all__  # twice, as type checkers read no other way\n"
        "import pairloom.explain\n"
        "assert isinstance(pairloom.explain, types.FunctionType)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_verb_has_help() -> None:
    said = pairloom_command("--help").stdout
    for verb in VERBS:
        assert verb in said
    assert "--max-reject" in pairloom_command("run", "--help").stdout


def test_run_json_is_one_object_on_standard_output(pairs: Path, tmp_path: Path) -> None:
    done = pairloom_command("run", pairs, tmp_path / "out", "--json", "--workers", "1")
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert (said["pairs_in"], said["pairs_out"], said["pairs_rejected"]) == (10, 8, 2)
    assert said["reasons"] == {"not_an_image": 2} and said["input_faults"] == []
    assert said["steps"][0]["name"] == "read"
    assert said["output"] == str(tmp_path / "out") and said["seconds"] > 0
    assert list(webdataset.WebDataset(str(tmp_path / "out" / "00000.tar"), shardshuffle=False))
    assert pairloom_command("verify", tmp_path / "out").returncode == 0
    (tmp_path / "out" / "00000.parquet").unlink()
    done = pairloom_command("verify", tmp_path / "out")
    assert done.returncode == 1 and "00000.parquet is missing" in done.stderr


def test_repair(pairs: Path, tmp_path: Path) -> None:
    pairloom_command("run", pairs, tmp_path / "out", "--recipe", "naive", "--shard-size", "5")
    (tmp_path / "out" / "00001.parquet").unlink()
    done = pairloom_command("repair", tmp_path / "out", "--json")
    assert done.returncode == 0 and "00001.parquet is missing" in done.stderr
    assert json.loads(done.stdout)["shards_resumed"] == 1
    assert pairloom_command("verify", tmp_path / "out").returncode == 0
    assert pairloom_command("repair", tmp_path / "nowhere").returncode == 2


def test_what_libraries_print_is_not_on_standard_output(pairs: Path, tmp_path: Path) -> None:
    code = (
        "from pairloom import pipeline\n"
        "real = pipeline.run\n"
        "pipeline.run = lambda *some, **options: print('a worker died') or real(*some, **options)\n"
        "from pairloom.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "run", str(pairs), str(tmp_path / "out"), "--recipe", "naive", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert json.loads(done.stdout)["pairs_out"] == 8 and "a worker died" in done.stderr


def test_run_shows_steps_and_reasons(pairs: Path, tmp_path: Path) -> None:
    done = pairloom_command("run", pairs, tmp_path / "out")
    assert done.stdout == "" and "not_an_image 2" in done.stderr
    assert "10 pairs in = 8 ready + 2 rejected" in done.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not_an_image" in page and "data:image/jpeg;base64," in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "out"], "nowhere"),
        (["pairs", "out", "--recipe", "nonsense"], "shipped recipes are"),
        (["pairs", "out", "--format", "zip"], "webdataset, parquet"),
        (["pairs", "out", "--colour", "red"], "--colour"),
        (["pairs", "pairs/out"], "inside the input"),
        (["pairs", "out", "--encoding", "klingon"], "klingon"),
    ],
)
def test_what_can_not_work_exits_with_2_and_writes_nothing(pairs: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = pairloom_command("run", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists() and not (pairs / "out").exists()


def test_an_input_fault_exits_with_1_and_keeps_the_rest(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", 6)
    pairloom_command("run", "pairs", "first", cwd=tmp_path)
    tar = (tmp_path / "first" / "00000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(tar[: len(tar) // 2])
    done = pairloom_command("run", "cut.tar", "second", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and "--allow-input-faults" in done.stderr
    assert said["input_faults"][0]["code"] == "cut_tar" and 0 < said["pairs_out"] < 6
    assert pairloom_command("run", "cut.tar", "second", "--allow-input-faults", cwd=tmp_path).returncode == 0


def test_check_writes_nothing(pairs: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    said = json.loads(pairloom_command("check", pairs, "--json").stdout)
    assert (said["pairs"], said["shards"], said["tried"]["pairs_out"]) == (10, 1, 8)
    assert said["estimated_bytes"] > 10_000 and said["memory_bytes"] > 10_000_000 and said["estimated_seconds"] > 0
    assert said["cost"] == {"compute": None, "storage_month": None}
    assert sorted(tmp_path.rglob("*")) == before


def test_check_estimates_what_a_run_then_makes(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", 200)
    said = json.loads(pairloom_command("check", folder, "--json", "--core-hour", "3600", "--gb-month", "1e9").stdout)
    run = json.loads(pairloom_command("run", folder, tmp_path / "out", "--json").stdout)
    written = sum(file.stat().st_size for file in (tmp_path / "out").glob("*.[tp]ar*"))
    assert said["estimated_bytes"] == pytest.approx(written, rel=0.25)
    assert (said["pairs"], said["shards"]) == (run["pairs_in"], run["shards"])
    assert said["cost"]["compute"] == pytest.approx(said["estimated_seconds"], abs=0.1)
    assert said["cost"]["storage_month"] == pytest.approx(said["estimated_bytes"])
    shown = pairloom_command("check", folder, "--workers", "4", "--core-hour", "3600").stderr
    assert "with 4 workers at best" in shown and "cost: " in shown and "of memory a worker" in shown


def test_init_steps_and_schema(tmp_path: Path) -> None:
    assert pairloom_command("init", cwd=tmp_path).returncode == 0
    assert pairloom_command("init", cwd=tmp_path).returncode == 2
    pairloom.Recipe.load(str(tmp_path / "recipe.yaml"))
    assert "letterbox" in pairloom_command("init", "--list").stdout
    assert "letterbox" in pairloom_command("steps").stdout
    assert "upscale: default True" in pairloom_command("steps", "letterbox").stdout
    assert pairloom_command("steps", "nonsense").returncode == 2
    assert "properties" in json.loads(pairloom_command("schema").stdout)


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("becomes", ["ImportError('initialization failed') from fault", ""])
def test_an_interrupt_inside_a_library_is_no_error(pairs: Path, tmp_path: Path, verb: str, becomes: str) -> None:
    """A compiled module that is being imported makes an ImportError of Ctrl-C; typer makes exit code 1 of it."""
    code = (
        "import os, signal, time\n"
        "from pairloom import pipeline\n"
        "def plan_of(*arguments):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(60)\n"
        "    except KeyboardInterrupt as fault:\n"
        f"        raise {becomes}\n"
        "pipeline.plan_of = plan_of\n"
        "from pairloom.cli import main\n"
        "main()\n"
    )
    arguments = [str(pairs), str(tmp_path / "out")][: 1 if verb == "check" else 2]
    done = subprocess.run([sys.executable, "-c", code, verb, *arguments], capture_output=True, text=True)
    assert done.returncode == 130
    assert "stopped" in done.stderr and "Traceback" not in done.stderr


def test_an_interrupt_waits_for_the_end_of_an_import(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, pathlib, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.3)\npathlib.Path('whole').touch()\n"
    )
    code = (
        "import time\n"
        "from pairloom import pipeline\n"
        "def plan_of(*arguments):\n"
        "    import slow\n"
        "    time.sleep(60)\n"
        "pipeline.plan_of = plan_of\n"
        "from pairloom.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "run", str(pairs), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=50)
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert (tmp_path / "whole").exists()


def test_limit_and_sample(pairs: Path, tmp_path: Path) -> None:
    assert json.loads(pairloom_command("run", pairs, tmp_path / "a", "--limit", 3, "--json").stdout)["pairs_in"] == 3
    assert json.loads(pairloom_command("run", pairs, tmp_path / "b", "--sample", 4, "--json").stdout)["pairs_in"] == 4


def test_select(pairs: Path, tmp_path: Path) -> None:
    pairloom_command("run", pairs, tmp_path / "out")
    (tmp_path / "same.yaml").write_text("steps: []\nselect: [duplicates: {of: image}]")
    done = pairloom_command("select", tmp_path / "out", tmp_path / "new", "--recipe", tmp_path / "same.yaml", "--json")
    assert json.loads(done.stdout)["pairs_out"] == 8
    assert pairloom_command("verify", tmp_path / "new").returncode == 0


def test_preview_and_explain_refuse_other_formats_before_they_work(pairs: Path, tmp_path: Path) -> None:
    for verb in (["preview", pairs], ["explain", pairs, "--key", "pair-001"]):
        done = pairloom_command(*verb, "--out", tmp_path / "sheet.pdf")
        assert done.returncode == 2 and ".html or .png" in done.stderr
    done = pairloom_command("preview", pairs, "--recipe", "naive", "-n", 3, "--out", tmp_path / "sheet.png")
    assert done.returncode == 0 and "3 pairs" in done.stderr and (tmp_path / "sheet.png").exists()


def test_report_is_written_again(pairs: Path, tmp_path: Path) -> None:
    pairloom_command("run", pairs, tmp_path / "out", "--recipe", "naive")
    (tmp_path / "out" / "report.html").unlink()
    assert pairloom_command("report", tmp_path / "out").returncode == 0
    assert "not_an_image" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert pairloom_command("report", pairs).returncode == 2


def test_export(pairs: Path, tmp_path: Path) -> None:
    pairloom_command("run", pairs, tmp_path / "out", "--recipe", "naive")
    done = pairloom_command("export", tmp_path / "out", tmp_path / "csv", "--to", "csv")
    assert done.returncode == 0 and "8 pairs" in done.stderr and (tmp_path / "csv" / "pairs.tsv").exists()
    assert pairloom_command("export", tmp_path / "out", tmp_path / "csv", "--to", "csv").returncode == 2
    assert pairloom_command("export", tmp_path / "out", tmp_path / "zip", "--to", "zip").returncode == 2
