"""The public names, where they are made; `pairloom` itself fetches them from here when one is first asked for."""

from pairloom.alignment import metrics as evaluate
from pairloom.batch import Batch, Row
from pairloom.compare import Comparison, compare
from pairloom.engines.ray import Ray
from pairloom.errors import Interrupted, PairloomError, RecipeError, Reject, RunError, UsageError
from pairloom.explain import explain
from pairloom.export import export
from pairloom.geometry import Geometry
from pairloom.pipeline import run
from pairloom.prepared import Prepared
from pairloom.prepared import open_output as open
from pairloom.preview import preview
from pairloom.readers.model import ReadOptions
from pairloom.recipe import Recipe
from pairloom.repair import repair
from pairloom.reselect import reselect
from pairloom.score import score
from pairloom.stats import Summary
from pairloom.step import Filter, ImageStep, Selection, Step, TextStep, step
from pairloom.steps.align import Align
from pairloom.steps.decode import Decode
from pairloom.steps.dedup import Duplicates
from pairloom.steps.encode import Encode
from pairloom.steps.filters import AspectRatio, Between, Language, MinSide, TextLength
from pairloom.steps.hash import ImageHash
from pairloom.steps.image import (
    BrightnessContrast,
    CenterCrop,
    Contain,
    Letterbox,
    NativePatches,
    RandomCrop,
    Stretch,
    TokenRatio,
)
from pairloom.steps.processor import AnyRes, Normalize, SmartResize
from pairloom.steps.rank import KeepTop, Percentile
from pairloom.steps.segment import Segment
from pairloom.steps.text import Clean, DetectLanguage, Tokenize
from pairloom.steps.tiles import Tiles
from pairloom.steps.truncate import Truncate
from pairloom.train import Fitting, Trained, train
from pairloom.verify import verify

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
