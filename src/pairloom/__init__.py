"""Pairloom turns raw image–text pairs into training-ready pairs that are measurably better aligned."""

__version__ = "0.1.0"

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairloom.api import *  # noqa: F403

__all__ = [
    "Align",
    "AnyRes",
    "AspectRatio",
    "Batch",
    "Between",
    "BrightnessContrast",
    "CenterCrop",
    "Clean",
    "Comparison",
    "Contain",
    "Decode",
    "DetectLanguage",
    "Duplicates",
    "Encode",
    "Filter",
    "Fitting",
    "Geometry",
    "ImageHash",
    "ImageStep",
    "Interrupted",
    "KeepTop",
    "Language",
    "Letterbox",
    "MinSide",
    "NativePatches",
    "Normalize",
    "PairloomError",
    "Percentile",
    "Prepared",
    "RandomCrop",
    "Ray",
    "ReadOptions",
    "Recipe",
    "RecipeError",
    "Reject",
    "Row",
    "RunError",
    "Segment",
    "Selection",
    "SmartResize",
    "Step",
    "Stretch",
    "Summary",
    "TextLength",
    "TextStep",
    "Tiles",
    "TokenRatio",
    "Tokenize",
    "Trained",
    "Truncate",
    "UsageError",
    "compare",
    "evaluate",
    "explain",
    "export",
    "open",
    "preview",
    "repair",
    "reselect",
    "run",
    "score",
    "step",
    "train",
    "verify",
]


class _Package(ModuleType):
    """Fetches the public names when one is first asked for, so that `pairloom --help` need not wait for all that they import."""

    def __getattr__(self, name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from pairloom import api

        vars(self).update({each: getattr(api, each) for each in __all__})
        return vars(self)[name]

    def __setattr__(self, name: str, value: Any) -> None:
        # Python would put the module `pairloom.run` in the place of the function `run` when it is imported.
        if name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
