"""Using a trained model: files, folders, long recordings and live signals.

    from sercorr.inference import EmotionRecognizer

    recognizer = EmotionRecognizer.from_run("results/my_run", fold="all")
    for found in recognizer.predict(["a.wav", "b.wav"]):
        print(found.file, found.label, found.scores)

What is named here is imported when it is first used: a model in ONNX needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sercorr.inference.loading import load_recognizer
    from sercorr.inference.onnx_model import OnnxRecognizer
    from sercorr.inference.prediction import Prediction, Segment
    from sercorr.inference.recognizer import EmotionRecognizer

__all__ = [
    "EmotionRecognizer",
    "OnnxRecognizer",
    "Prediction",
    "Segment",
    "load_recognizer",
]

_HOMES = {
    "EmotionRecognizer": "recognizer",
    "OnnxRecognizer": "onnx_model",
    "Prediction": "prediction",
    "Segment": "prediction",
    "load_recognizer": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
