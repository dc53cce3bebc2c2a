"""Training: settings, runs and their folders, SpeechBrain's Brain, folds and grids."""

from sercorr.training.brain import EmotionBrain

__all__ = ["EmotionBrain"]
