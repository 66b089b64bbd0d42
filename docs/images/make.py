"""Make the pictures of the documentation again, from the sample pairs: `python docs/images/make.py` (needs Chromium).

The pages are made by the commands themselves, photographed, cut, and reduced to 128 colours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
PAIRS = HERE.parents[1] / "examples" / "pairs"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
WORDS = "The village fair opened at nine. The fire engine came down the main road. Tickets cost five euros for adults. "
SHOWN = {"openclipart-0045-formula-one-car": "formula-one-car", "gimp-en-14-path-stroking-examples": "path-stroking"}


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "pairs").mkdir()
        for stem, short in SHOWN.items():
            for file in PAIRS.glob(f"{stem}.*"):
                shutil.copy(file, work / "pairs" / f"{short}{file.suffix}")
        pairloom("preview", str(work / "pairs"), "--recipe", "default", "--out", str(work / "preview.html"))
        photograph(work / "preview.html", "preview.png", 1180, 1100)

        pairloom("run", str(PAIRS), str(work / "prepared"))
        photograph(work / "prepared" / "report.html", "report.png", 920, 1010)

        (work / "fair").mkdir()
        shutil.copy(PAIRS / "openclipart-0046-fire-engine.png", work / "fair" / "fire-engine.png")
        (work / "fair" / "fire-engine.txt").write_text(WORDS + "Children could buy lemonade.")
        pairloom("explain", str(work / "fair"), "--key", "fire-engine", "--out", str(work / "explain.html"))
        photograph(work / "explain.html", "explain.png", 700, 1045)


def pairloom(*words: str) -> None:
    """Run the command."""
    subprocess.run([sys.executable, "-m", "pairloom", *words], check=True)


def photograph(page: Path, name: str, width: int, height: int) -> None:
    """The upper `height` of a page, in CSS pixels, as a small PNG."""
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},{height}"]
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [CHROMIUM, *options, f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(HERE / name, optimize=True)
    print(f"{name}: {(HERE / name).stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
