"""Plugins: the example package, really installed, and packages that misbehave."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from conftest import EXAMPLES, picture, write_pairs
from PIL import Image

from pairloom import Recipe, UsageError, plugins, readers, registry
from pairloom.engines import node
from pairloom.models import load
from pairloom.run import Job
from pairloom.step import SELECTIONS, STEPS

PLUGIN = EXAMPLES.parent / "plugin"
RECIPE = "steps: [decode, clean, greyscale, segment, {align: {model: colours}}, {encode: {format: png}}]\n"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example, by the build backend that it names and without a network."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("installed")
    shutil.copytree(PLUGIN, source)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\nDoes this environment have the extra `dev`? It brings hatchling."
    return target


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Six pairs in one file that only the example reads: one has no text, one no image that can be read."""
    write_pairs(tmp_path / "raw", 6, bad=(4,))
    (tmp_path / "raw" / "pair-002.txt").unlink()
    with ZipFile(tmp_path / "pairs.zip", "w") as made:
        for file in (tmp_path / "raw").iterdir():
            made.write(file, f"in/{file.name}")
    return tmp_path / "pairs.zip"


@pytest.fixture(autouse=True)
def _same_steps() -> Iterator[None]:
    """What a test imports must not be known to others."""
    before = dict(STEPS), dict(SELECTIONS)
    yield
    for known, kept in zip((STEPS, SELECTIONS), before, strict=True):
        known.clear()
        known.update(kept)


def command(where: Path | str, *arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(where), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = [sys.executable, "-m", "pairloom", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert "Traceback" not in done.stderr
    return done


def package(folder: Path, name: str, group: str, entry: str, code: str = "", version: str = "1.0") -> Path:
    """An installed package, as an installer leaves it: a module, and what it says of itself."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(f"[pairloom.{group}]\n{entry}\n")
    (folder / f"{name}.py").write_text(code)
    return folder


def test_an_installed_package_adds_a_step_a_model_a_reader_and_a_writer(installed: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    outputs = [tmp_path / "one", tmp_path / "two"]
    for workers, output in enumerate(outputs, 1):  # two shards: the second run has worker processes
        options = ("--recipe", tmp_path / "recipe.yaml", "--shard-size", 4, "--workers", workers)
        done = command(installed, "run", archive, output, *options)
        assert done.returncode == 0, done.stderr
    one, two = ({file.name: file.read_bytes() for file in each.glob("0*")} for each in outputs)
    assert one == two and len(one) == 6
    plan = json.loads((outputs[0] / "plan.json").read_text("utf-8"))
    assert plan["versions"]["pairloom-example"] == "0.1.0" and plan["versions"]["align package"] == "pairloom-example 0.1.0"
    assert plan["settings"]["plugins"] == {"pairloom-example": "0.1.0"}
    assert command(installed, "verify", outputs[0]).returncode == 0
    assert "wrote 4 pairs" in command(installed, "export", outputs[0], tmp_path / "coco", "--to", "coco").stderr
    coco = json.loads((tmp_path / "coco" / "captions.json").read_text("utf-8"))
    assert [said["caption"][:16] for said in coco["annotations"]] == [f"Picture number {n}" for n in (0, 1, 3, 5)]
    for image in coco["images"]:
        pixels = np.asarray(Image.open(tmp_path / "coco" / "images" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3) and np.ptp(pixels, axis=2).max() == 0


def test_what_a_package_adds_is_listed(installed: Path) -> None:
    assert "  greyscale " in command(installed, "steps").stdout
    assert "strength: default 1.0" in command(installed, "steps", "greyscale").stdout
    assert "(from pairloom-example)" in command(installed, "models").stdout
    assert "colours: 0.0 MB; en; 11 dimensions" in command(installed, "models", "colours").stdout
    assert "greyscale" in json.loads(command(installed, "schema").stdout)["properties"]["steps"]["items"]["anyOf"][0]["enum"]
    assert "croissant, csv, coco" in command(installed, "export", "nothing", "nowhere", "--to", "cocoa").stderr


def test_without_the_package_all_is_as_before(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    done = command("", "check", EXAMPLES, "--recipe", tmp_path / "recipe.yaml")
    assert done.returncode == 2 and "nothing is called 'greyscale'" in done.stderr
    assert "there is no model 'colours'" in command("", "models", "colours").stdout
    assert "none of the suffixes" in command("", "check", archive, "--recipe", "naive").stderr


def test_another_version_of_the_package_is_not_resumed(installed: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("steps: [decode, greyscale, segment, {align: {model: colours}}, encode]\n")
    options = (archive, tmp_path / "out", "--recipe", tmp_path / "recipe.yaml")
    assert command(installed, "run", *options).returncode == 0
    newer = shutil.copytree(installed, tmp_path / "newer")
    about = newer / "pairloom_example-0.1.0.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("Version: 0.1.0", "Version: 0.2.0"))
    done = command(newer, "run", *options)
    assert done.returncode == 2 and "pairloom-example: was 0.1.0, is 0.2.0" in done.stderr
    assert "align package: was pairloom-example 0.1.0, is pairloom-example 0.2.0" in done.stderr
    assert "plugins: was {'pairloom-example': '0.1.0'}" in done.stderr
    assert command(installed, "repair", tmp_path / "out").returncode == 0


def test_a_package_that_cannot_be_imported_costs_only_who_uses_it(pairs: Path, tmp_path: Path) -> None:
    broken = package(tmp_path / "site", "broken", "steps", "polish = broken:Polish", "raise RuntimeError('no licence key')\n")
    (tmp_path / "recipe.yaml").write_text("steps:\n- decode\n- polish\n- encode\n")
    assert command(broken, "check", pairs, "--recipe", "naive").stderr.count("polish") == 0
    done = command(broken, "check", pairs, "--recipe", tmp_path / "recipe.yaml")
    said = "line 3, steps[1]: 'polish' among Pairloom's steps, which the package broken 1.0 adds, can't be imported: RuntimeError"
    assert done.returncode == 2 and said in done.stderr
    listed = command(broken, "steps")
    assert listed.returncode == 0 and "clean" in listed.stdout and "no licence key" in listed.stderr
    assert "clean" in command(broken, "schema").stdout


@pytest.mark.parametrize(
    ("group", "name"), [("steps", "clean"), ("steps", "duplicates"), ("models", "mini"), ("readers", "csv"), ("readers", "txt")]
)
def test_a_name_of_pairloom_stays_pairlooms(group: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "thief", group, f"{name} = thief:nothing", "raise RuntimeError\n"))
    core = {"steps": registry.own(), "models": {"mini"}, "readers": readers.OWN}[group]
    [said] = plugins.refused(group, core)
    assert said == f"thief 1.0 may not add {name!r} to the {group}: that is Pairloom's own"
    assert Recipe.load("default").steps[1].name == "clean" and load("mini").package == ""
    (tmp_path / "pairs.csv").write_text("image,text\na.jpg,a\n")
    assert readers.plan(str(tmp_path / "pairs.csv")).shards[0].kind == "csv"
    assert "refused" not in registry.load_plugins()
    with pytest.raises(UsageError, match="none of the suffixes"):
        (tmp_path / "notes.txt").write_text("x")
        readers.plan(str(tmp_path / "notes.txt"))


def test_a_taken_name_is_told_of(tmp_path: Path) -> None:
    done = command(package(tmp_path, "thief", "steps", "clean = thief:Clean"), "steps")
    assert "thief 1.0 may not add 'clean' to the steps: that is Pairloom's own" in done.stderr and done.returncode == 0


def test_two_packages_of_one_name_are_told_apart_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        package(tmp_path, name, "models", f"twin = {name}:open_it")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"first 1\.0 and second 1\.0 each add 'twin' to Pairloom's models"):
        load("twin:x")


@pytest.mark.parametrize(
    ("group", "entry", "code", "said"),
    [
        ("steps", "shiny = odd:Shiny", "class Shiny: pass", "is no class made with `@step('shiny')`"),
        (
            "steps",
            "shiny = odd:Dull",
            "from pairloom import ImageStep, step\n@step('dull')\nclass Dull(ImageStep): pass",
            "is no class made with `@step('shiny')`",
        ),
        ("steps", "shiny = odd:Lost", "", "AttributeError"),
        ("models", "shiny = odd:open_it", "def open_it(name, rest, device, threads): return None", "gives no Model"),
    ],
)  # fmt: skip
def test_a_package_that_gives_something_else(
    group: str, entry: str, code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "odd", group, entry, code))
    monkeypatch.delitem(sys.modules, "odd", raising=False)
    with pytest.raises(UsageError, match=r"the package odd 1\.0 adds, ") as fault:
        registry.find("steps", "shiny") if group == "steps" else load("shiny")
    assert said in str(fault.value)


def test_a_selection_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from pairloom import Selection, step\nfrom pairloom.step import SELECTIONS\n"
        "@step('first_half', SELECTIONS)\nclass FirstHalf(Selection):\n    reason = 'second_half'\n"
        "    def drop(self, ledger): return {row: '' for row in range(ledger.num_rows // 2, ledger.num_rows)}\n"
    )
    monkeypatch.syspath_prepend(package(tmp_path, "halves", "steps", "first_half = halves:FirstHalf", code))
    recipe = Recipe.from_yaml("steps: [clean]\nselect: [first_half]\n")
    assert recipe.select[0].name == "first_half" and recipe.versions() == recipe.staged().versions()
    assert Recipe.from_literal(recipe.to_literal()) == recipe


def test_rows_of_a_package(installed: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    plan = readers.plan(str(archive), shard_size=4)
    assert [(shard.kind, shard.first_row, shard.rows) for shard in plan.shards] == [("zip", 0, 4), ("zip", 4, 2)]
    rows = [row for shard in plan.shards for row in readers.read(shard)]
    assert [row.source_key for row in rows] == [f"in/pair-{n:03d}.jpg" for n in range(6)]
    assert {row.source for row in rows} == {str(archive)}
    assert [row.reject.code if row.reject else "" for row in rows] == ["", "", "missing_text", "", "", ""]
    assert rows[0].texts[0].startswith("Picture number 0.") and Image.open(io.BytesIO(rows[5].image or b"")).size == (95, 70)
    assert [
        readers.plan(str(archive), limit=3).shards[0].rows,
        *(each.rows for each in readers.plan(str(archive), sample=2).shards),
    ]


def test_a_file_that_a_package_cannot_read_is_an_input_fault(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed)
    (tmp_path / "broken.zip").write_bytes(b"PK no zip at all")
    [shard] = readers.plan(str(tmp_path / "broken.zip")).shards
    assert [fault.code for fault in shard.faults] == ["broken_zip"] and list(readers.read(shard)) == []


def test_a_damaged_pair_costs_itself(installed: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(picture(91, 62, 1)[-40:], bytes(40)))  # stored, not packed: only its checksum tells
    rows = list(readers.read(readers.plan(str(archive)).shards[0]))
    assert rows[1].reject is not None and rows[1].reject.code == "broken_zip"
    assert rows[0].reject is None and rows[3].reject is None


def test_a_node_without_the_package_that_reads_the_input_is_found_out(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.json").write_text("{}")
    job = Job(Recipe.from_yaml("steps: [clean]"), tmp_path, packages={"not-here": "1.0"})
    [shard] = readers.plan(str(pairs)).shards
    outcome = node.work((job, tmp_path, job.recipe.versions()), shard, None)
    assert outcome.fatal and outcome.fault.endswith("not-here differ")


def test_in_a_folder_what_pairloom_reads_itself_comes_first(
    installed: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed)
    (tmp_path / "several").mkdir()
    for name in ("b.zip", "a.zip"):
        shutil.copy(archive, tmp_path / "several" / name)
    assert [Path(name).name for name, _ in readers.containers(str(tmp_path / "several"))] == ["a.zip", "b.zip"]
    (tmp_path / "several" / "pairs.csv").write_text("image,text\na.jpg,a\n")
    assert [kind for _, kind in readers.containers(str(tmp_path / "several"))] == ["csv"]
    assert readers.packages(["csv", "folder"]) == {} and readers.packages(["zip"]) == {"pairloom-example": "0.1.0"}


def test_the_model_is_the_package_in_its_version(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    model = load("colours")
    red, blue = (np.full((40, 60, 3), colour, np.uint8) for colour in ((220, 30, 30), (40, 70, 200)))
    scores = model.embed_images([red, blue]) @ model.embed_texts(["A red kite", "the blue sea"]).T
    assert scores.argmax(1).tolist() == [0, 1] and model.package == "pairloom-example 0.1.0"
    assert replace(model, package="pairloom-example 0.2.0").fingerprint != model.fingerprint
