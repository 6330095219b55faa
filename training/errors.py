"""Errors of training. Each class names a fault, and its text is for the user."""

from __future__ import annotations


class TrainingError(Exception):
    """Base of every error that training raises on purpose."""


class ConfigError(TrainingError):
    """A `train.toml` with an unknown key, a bad value, or settings that do not fit the data."""


class DataError(TrainingError):
    """Records that nothing can be learned from: too few, of mixed types, or without any usable column."""


class FitError(TrainingError):
    """A fit that came to no model: its loss is not finite."""


class CalibrationError(TrainingError):
    """Too few calibration records for the promise asked for."""


class ExportError(TrainingError):
    """A model file that could not be written, or that does not give the scores of the model it was made from."""


class EvaluationError(TrainingError):
    """Labelled records that a model cannot be measured on."""
