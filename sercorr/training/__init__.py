"""Training: settings, runs and their folders, SpeechBrain's Brain, folds and grids."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sercorr.training.brain import EmotionBrain

__all__ = ["EmotionBrain"]


def __getattr__(name: str) -> Any:
    # SpeechBrain and torch take seconds and hundreds of megabytes: a job of a cluster,
    # which starts a program and waits for it, does without them.
    if name == "EmotionBrain":
        from sercorr.training.brain import EmotionBrain  # noqa: PLC0415

        return EmotionBrain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
