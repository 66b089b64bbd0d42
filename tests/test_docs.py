"""The documentation is run: every code block, every verb, every step, every reason code."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairloom.recipe import REGISTRIES, Recipe, shipped_recipes

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "README.zh-CN.md", *(ROOT / "docs").rglob("*.md")])
REFERENCE = ROOT / "docs" / "reference"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in BLOCK.findall(page.read_text("utf-8")) if found == language]


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


def reference(script: str) -> dict[str, Any]:
    """What one of the scripts that make the reference defines."""
    return runpy.run_path(str(REFERENCE / script))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the examples stand as in a clone, and anything may be written."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.mark.parametrize("page", pages_with("python"), ids=lambda page: page.name)
def test_python_blocks_run(page: Path, checkout: Path) -> None:
    for code in blocks(page, "python"):
        done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        promised = re.findall(r"^print\(.*\)\s+# (?:[^(\[\d]*: )?(.*)$", code, re.MULTILINE)
        said = done.stdout.splitlines()
        assert promised == said[: len(promised)]


def commands(page: Path, needs: bool) -> list[str]:
    """The blocks of a page that are for a shell and call Pairloom; those that begin with `# needs …` can't run in a test."""
    found = [code for code in blocks(page, "sh") if re.search("^pairloom ", code, re.MULTILINE)]
    return [code for code in found if code.startswith("# needs ") == needs]


def pages_to_run() -> list[Path]:
    """Those with commands; what the English README has is run once, there."""
    readme = commands(ROOT / "README.md", False)
    return [page for page in PAGES if page == ROOT / "README.md" or not set(commands(page, False)) <= set(readme)]


@pytest.mark.parametrize("page", pages_to_run(), ids=lambda page: page.name)
def test_commands_run(page: Path, checkout: Path) -> None:
    script = f'pairloom() {{ "{sys.executable}" -m pairloom "$@"; }}\nset -e\n' + "\n".join(commands(page, False))
    done = subprocess.run(["bash", "-c", script], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [one for one in PAGES if commands(one, True)], ids=lambda page: page.name)
def test_commands_that_need_more_are_possible(page: Path) -> None:
    there = reference("commands.py")
    for line in "\n".join(commands(page, True)).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["pairloom"]:
            known = {name for names, *_ in there["options"](there["verbs"]()[words[1]]) for name in names}
            assert {word for word in words if word.startswith("-")} <= known, line


@pytest.mark.parametrize("page", pages_with("yaml"), ids=lambda page: page.name)
def test_recipes_are_valid(page: Path, tmp_path: Path) -> None:
    for source in blocks(page, "yaml"):
        if "steps: []" in source:  # a selection by a column that a user brings
            (tmp_path / "recipe.yaml").write_text(source)
            assert Recipe.selection(str(tmp_path / "recipe.yaml"))
        else:
            assert Recipe.from_yaml(source).steps


def test_readme_shows_the_default_recipe() -> None:
    for page in ("README.md", "README.zh-CN.md"):
        assert Recipe.load("default") in [Recipe.from_yaml(source) for source in blocks(ROOT / page, "yaml")]


def test_every_verb_has_a_page() -> None:
    done = subprocess.run([sys.executable, "-m", "pairloom", "--help"], capture_output=True, text=True)
    verbs = re.findall(r"^│ ([a-z]+) ", done.stdout, re.MULTILINE)
    assert verbs and verbs == sorted(path.stem for path in (ROOT / "docs" / "cli").glob("*.md"))


def test_every_step_and_recipe_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    names = [name for registry in REGISTRIES.values() for name in registry]
    assert [name for name in names if f"| `{name}` |" not in page] == []
    assert [name for name in shipped_recipes() if f"`{name}`" not in page] == []


def test_every_reason_code_is_in_the_docs_and_no_other() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", (REFERENCE / "reasons.md").read_text("utf-8"), re.MULTILINE)
    said = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    codes = reference("codes.py")["codes"]()
    assert len(codes) > 40
    assert said == set(codes), "docs/reference/reasons.md must say what each code means and what to do"


def test_every_step_has_an_example_that_a_recipe_accepts() -> None:
    there = reference("steps.py")
    for registry in REGISTRIES.values():
        for name in registry:
            assert f"- {name}" in there["recipe"](name)


def test_the_reference_is_in_step_with_the_code() -> None:
    stale = [name for name, text in reference("make.py")["pages"]().items() if (REFERENCE / name).read_text("utf-8") != text]
    assert stale == [], "run `python docs/reference/make.py`"


def test_every_page_is_in_the_navigation() -> None:
    def files(entry: Any) -> list[str]:
        inner = list(entry.values()) if isinstance(entry, dict) else entry
        return [entry] if isinstance(entry, str) else [file for one in inner for file in files(one)]

    listed = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert sorted(listed) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)[)#]", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_chinese_readme_keeps_step() -> None:
    english, chinese = (((ROOT / name).read_text("utf-8")) for name in ("README.md", "README.zh-CN.md"))
    assert len(re.findall(r"^## ", english, re.MULTILINE)) == len(re.findall(r"^## ", chinese, re.MULTILINE))
    assert [language for language, _ in BLOCK.findall(english)] == [language for language, _ in BLOCK.findall(chinese)]
    for language in ("sh", "yaml"):
        assert blocks(ROOT / "README.md", language) == blocks(ROOT / "README.zh-CN.md", language)
