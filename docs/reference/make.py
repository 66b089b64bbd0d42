"""Write the pages of the reference from the code: `python docs/reference/make.py`. A test says when they are out of step."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from reference import commands, names, steps  # noqa: E402

NOTE = "<!-- Made from the code by docs/reference/make.py: change the docstrings there, not this page. -->\n\n"


def pages() -> dict[str, str]:
    """Every page that is made, by its file name."""
    made = {"steps.md": steps.page(), "recipe.md": steps.recipes(), "cli.md": commands.page(), "python.md": names.page()}
    return {name: NOTE + text.rstrip() + "\n" for name, text in made.items()}


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, "utf-8")
