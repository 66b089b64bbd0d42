"""Words to choose by, in recipes and on the command line; here because importing what they are for takes long."""

from typing import Literal

Kind = Literal["whole", "mean", "max", "softmax", "attention"]
"""How segments become one score."""

Views = Literal["whole", "long", "tiles"]
"""What of an image is looked at."""

Regime = Literal["fixed", "refit"]
"""How policies are compared: with the model as it is, or with a head refitted for each."""

Layout = Literal["mds", "huggingface", "imagefolder", "llava", "datacomp", "croissant", "csv"]
"""What an output can be exported to."""

PROMPT = "Describe the image briefly."
"""What the human asks in LLaVA's conversations, if nothing else is given."""
