"""Speed and memory of the package, measured: ``python -m benchmarks`` (README.md)."""

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

# The settings file imports the recipe; random models are made as for the tests.
_ROOT = Path(__file__).parents[1]
for _folder in (_ROOT / "recipes" / "IEMOCAP" / "emotion_corr", _ROOT / "tests"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))
