"""Compiles the two extensions into the wheel; without a compiler the package is built pure and does the same by Pillow and
simplejpeg.

`PAIRLOOM_PURE=1` leaves them out on purpose, `CC`, `CFLAGS`, `LDFLAGS` and `ARCHFLAGS` are heeded as usual.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")  # a free-threaded Python has no stable ABI
SUFFIX = ".abi3.so" if ABI3 else sysconfig.get_config_var("EXT_SUFFIX")
SOURCES = [Path("src/pairloom/_resize.c"), Path("src/pairloom/_jpeg.c")]


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled modules beside their sources, for editable installs, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, or say why not."""
        for source in (Path(self.root) / one for one in SOURCES):
            target = source.with_suffix(SUFFIX)
            if version == "editable":
                target.unlink(missing_ok=True)  # none is better than an old one
            why = "PAIRLOOM_PURE is set" if os.environ.get("PAIRLOOM_PURE") == "1" else compiled(source, target)
            if why:
                self.app.display_warning(f"pairloom is built without its compiled {source.stem}, which only takes longer: {why}")
                continue
            build_data["pure_python"] = False
            build_data["infer_tag"] = not ABI3
            if ABI3:
                platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                build_data["tag"] = f"cp311-abi3-{platform}"
            build_data["artifacts"].append(str(target.relative_to(self.root)))


def compiled(source: Path, target: Path) -> str:
    """Compile with the first compiler that is there; why it didn't work, or an empty string."""
    chosen = os.environ.get("CC")
    for compiler in [chosen] if chosen else [sysconfig.get_config_var("CC"), "cc", "gcc", "clang"]:
        try:
            subprocess.run(command(shlex.split(compiler or "cc"), source, target), check=True, capture_output=True, text=True)
        except OSError:
            continue
        except subprocess.CalledProcessError as fault:
            lines = [line for line in fault.stderr.splitlines() if "error" in line] or [str(fault)]
            return f"the compiler failed ({lines[0].strip()})"
        return ""
    return "no C compiler was found"


def command(compiler: list[str], source: Path, target: Path) -> list[str]:
    """How to compile: for any processor of the kind, and without fused operations, which round otherwise."""
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    flags = ["-O3", "-std=c11", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden"]
    flags += ["-DPy_LIMITED_API=0x030B0000"] if ABI3 else []
    flags += [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    given = {name: shlex.split(os.environ.get(name, "")) for name in ("CFLAGS", "LDFLAGS", "ARCHFLAGS")}
    return [
        *compiler,
        *flags,
        *given["CFLAGS"],
        *given["ARCHFLAGS"],
        str(source),
        "-o",
        str(target),
        *link,
        *given["LDFLAGS"],
        "-lm",
        *([] if sys.platform == "darwin" else ["-ldl"]),
    ]
