"""Find dead links in a built site: `python docs/links.py build/site`. Targets outside of it are not asked for."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The places that a page links to, and those in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places = {""}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.places |= {found.get("id") or "", found.get("name") or ""}
        self.targets += [found[name] or "" for name in ("href", "src") if name in found]


def dead(site: Path) -> list[str]:
    """Every link within the site that leads nowhere, with its page."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if (
                parts.scheme or parts.netloc or path.name == "404.html"
            ):  # that one is shown at any depth, so its links start at the root
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            to = to / "index.html" if to.is_dir() else to
            if not to.is_file() or (to in pages and unquote(parts.fragment) not in pages[to].places):
                found.append(f"{path.relative_to(site.resolve())}: {target}")
    return found


if __name__ == "__main__":
    wrong = dead(Path(sys.argv[1]))
    print("\n".join(wrong) or "no dead links")
    sys.exit(bool(wrong))
