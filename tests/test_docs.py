"""The documentation is run: every code block, every verb, every step, every reason code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pairloom.recipe import REGISTRIES, Recipe, shipped_recipes

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "README.zh-CN.md", *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted((ROOT / "src" / "pairloom").rglob("*.py"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in BLOCK.findall(page.read_text("utf-8")) if found == language]


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


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


@pytest.mark.parametrize("page", pages_with("sh"), ids=lambda page: page.name)
def test_commands_run(page: Path, checkout: Path) -> None:
    command = f'pairloom() {{ "{sys.executable}" -m pairloom "$@"; }}\nset -e\n'
    lines = [line for code in blocks(page, "sh") for line in code.splitlines() if line.startswith("pairloom ")]
    done = subprocess.run(["bash", "-c", command + "\n".join(lines)], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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


def test_every_reason_code_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "outputs.md").read_text("utf-8")
    raised = re.compile(
        r'(?:Reject\(\s*|reason(?:: ClassVar\[str\])? = |_BrokenTable\(|code(?:: str)? = |cut\.code, .* = )"([a-z_]+)"'
    )
    codes = {code for path in SOURCES for code in raised.findall(path.read_text("utf-8"))}
    assert len(codes) > 25
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_chinese_readme_keeps_step() -> None:
    english, chinese = (((ROOT / name).read_text("utf-8")) for name in ("README.md", "README.zh-CN.md"))
    assert len(re.findall(r"^## ", english, re.MULTILINE)) == len(re.findall(r"^## ", chinese, re.MULTILINE))
    assert [language for language, _ in BLOCK.findall(english)] == [language for language, _ in BLOCK.findall(chinese)]
    for language in ("sh", "yaml"):
        assert blocks(ROOT / "README.md", language) == blocks(ROOT / "README.zh-CN.md", language)
