"""`pairloom models`."""

from __future__ import annotations

import json
from pathlib import Path

from model_files import DIMENSION, onnx_model
from test_cli import pairloom_command

from pairloom.models import FORMS


def test_a_model_is_described(tmp_path: Path) -> None:
    name = f"onnx:{onnx_model(tmp_path / 'model')}"
    done = pairloom_command("models", name, "--device", "cpu")
    assert done.returncode == 0 and all(form in done.stdout for form in FORMS)
    assert f"{name}: 0.0 MB; en, zh; {DIMENSION} dimensions; 10 tokens; on cpu" in done.stdout
    said = json.loads(pairloom_command("models", name, "--json").stdout)
    [one] = said["models"]
    assert one["bytes"] > 500 and one["languages"] == ["en", "zh"] and len(one["fingerprint"]) == 64 and one["problem"] is None
    assert [form["form"] for form in said["forms"]] == list(FORMS)


def test_what_can_not_be_opened_says_why(tmp_path: Path) -> None:
    done = pairloom_command("models", "nonsense", f"onnx:{tmp_path}")
    assert done.returncode == 2 and "there is no model 'nonsense'" in done.stdout and "has no image.onnx" in done.stdout


def test_without_names_the_shipped_model_is_shown() -> None:
    done = pairloom_command("models")
    assert done.returncode == 0 and done.stdout.startswith("mini: ")
