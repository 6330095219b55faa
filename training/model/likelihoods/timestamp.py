"""The likelihood of an instant: two categorical fields, its hour of the day and its day of the week, in UTC.

A histogram over 24 hours takes any shape, office hours and night batches alike, where a single von Mises
distribution takes one peak. Records are told to the encoder in cyclic form, so that 23:59 lies beside 00:00.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from service.contract import DAYS_PER_WEEK, EPOCH_WEEKDAY, HOURS_PER_DAY
from training.model.exportable import bounded

FIELDS = (HOURS_PER_DAY, DAYS_PER_WEEK)
"""Sizes of the fields of one timestamp column: hour, then weekday from Monday."""

ENCODED_WIDTH = 4
"""Features of one timestamp column: sine and cosine of the time of day and of the time of the week."""

_SECONDS = {"hour": 3600.0, "day": 86400.0, "week": 604800.0}
_FURTHEST_INSTANT = 1e12  # seconds; float64 still tells milliseconds there


class Calendar(nn.Module):
    """Hour and weekday of instants. Its constants are float64 tensors: the ONNX exporter narrows Python's own."""

    hour: Tensor
    day: Tensor
    week: Tensor
    monday: Tensor
    furthest: Tensor

    def __init__(self) -> None:
        """Store the constants."""
        super().__init__()
        constants = _SECONDS | {"monday": EPOCH_WEEKDAY * _SECONDS["day"], "furthest": _FURTHEST_INSTANT}
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)

    def fields(self, seconds: Float[Tensor, "n t"]) -> Int[Tensor, "n t 2"]:
        """Return hour and weekday of instants in float64 seconds since 1970."""
        of_day, of_week = self._split(seconds)
        # Rounding far from 1970 can reach the next whole: the last hour and weekday bound it.
        hour = torch.floor(of_day / self.hour).to(torch.int64).clamp(0, HOURS_PER_DAY - 1)
        weekday = torch.floor(of_week / self.day).to(torch.int64).clamp(0, DAYS_PER_WEEK - 1)
        return torch.stack([hour, weekday], dim=-1)

    def encoded(self, seconds: Float[Tensor, "n t"]) -> Float[Tensor, "n t4"]:
        """Return the cyclic features of instants, float32: sines of day and week, then cosines."""
        of_day, of_week = self._split(seconds)
        turns = torch.cat([of_day / self.day, of_week / self.week], dim=-1).float()
        return torch.cat([torch.sin(2.0 * math.pi * turns), torch.cos(2.0 * math.pi * turns)], dim=-1)

    def _split(self, seconds: Float[Tensor, "n t"]) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
        """Return the seconds since midnight and since Monday's midnight."""
        instant = bounded(seconds, self.furthest)
        shifted = instant + self.monday
        return (
            instant - torch.floor(instant / self.day) * self.day,
            shifted - torch.floor(shifted / self.week) * self.week,
        )
