"""The latent space in two dimensions, and what the decoder makes of it along each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import BooleanColumn, Column, NumericColumn, Schema, TimestampColumn
from vaegis.service.generation import Decoded
from vaegis.service.grid import on_grid
from vaegis.service.model import Model
from vaegis.service.records.kinds import WEEKDAYS
from vaegis.service.report.columns import short_name

SIZE: Final = 420.0
_MARGIN: Final = 12.0
_BAND_QUANTILES: Final = (0.5, 0.8, 0.95)
_STOPS: Final = 7
_OUTERMOST: Final = 0.03
_LEAST_NEIGHBOURS: Final = 8
_NEIGHBOUR_SHARE: Final = 0.08
_MOST_ROWS: Final = 8
_LEAST_CHANGE: Final = 0.05


@dataclass(frozen=True, slots=True)
class LatentMap:
    """A point for each exemplar, by the first two principal components, in bands of score.

    Attributes:
        bands: Label of each band, and x and y of its points.
        explained: Share of the exemplars' variance on each of the two axes.
        points: Number of points.
        latent_dim: Dimensions of the latent space.
    """

    bands: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    explained: tuple[float, float]
    points: int
    latent_dim: int


@dataclass(frozen=True, slots=True)
class WalkRow:
    """One column along an axis.

    Attributes:
        name: Of the column.
        cells: What it decodes to at each stop, in words.
        levels: The same as a number from 0 to 1.
    """

    name: str
    cells: tuple[str, ...]
    levels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """The columns that change most along one axis of the map.

    Attributes:
        rows: Those columns, most changed first.
        others: Number of columns that change less.
        neighbours: Exemplars that each stop is a mean of.
    """

    rows: tuple[WalkRow, ...]
    others: int
    neighbours: int


def latent_map(model: Model, points: NDArray[np.float64], scores: NDArray[np.float64]) -> LatentMap:
    """Return the map of the exemplars, coloured by the score of one record generated near each.

    Args:
        model: Whose calibration scores part the bands.
        points: The exemplars, shape (n, latent_dim).
        scores: Of a record generated near each, shape (n,).
    """
    calibration = np.concatenate(model.artifact.calibration_folds)
    limits = np.minimum(np.quantile(calibration, _BAND_QUANTILES), model.threshold)
    band = np.searchsorted([*limits, model.threshold], scores)
    labels = (
        "lower half of normal scores",
        "up to 80% of normal scores",
        "up to 95% of normal scores",
        "below the threshold",
        "above the threshold",
    )
    projected, explained = _projected(points)
    low, high = projected.min(axis=0), projected.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    placed = _MARGIN + (projected - low) / span * (SIZE - 2 * _MARGIN)
    placed[:, 1] = SIZE - placed[:, 1]
    bands = tuple(
        (label, tuple((round(x, 1), round(y, 1)) for x, y in placed[band == at].tolist()))
        for at, label in enumerate(labels)
    )
    return LatentMap(bands, explained, len(points), points.shape[1])


def walks(schema: Schema, points: NDArray[np.float64], decoded: Decoded) -> tuple[Walk, Walk]:
    """Return what the columns decode to along the two axes of the map.

    A stop is the mean over the exemplars nearest to it on the axis, so it stays where the model has records and shows
    none of them.

    Args:
        schema: The columns.
        points: The exemplars, shape (n, latent_dim).
        decoded: What they decode to.
    """
    projected, _ = _projected(points)
    return _walk(schema, projected[:, 0], decoded), _walk(schema, projected[:, 1], decoded)


def _projected(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return the first two principal components, shape (n, 2), and the share of the variance on each."""
    centred = points - points.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    # The sign of an axis is arbitrary: the same model has to give the same map.
    axes = axes * np.where(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    two = np.zeros((len(points), 2))
    two[:, : len(axes[:2])] = centred @ axes[:2].T
    shares = np.zeros(2)
    total = float((singular**2).sum())
    if total > 0:
        shares[: len(singular[:2])] = singular[:2] ** 2 / total
    return two, (float(shares[0]), float(shares[1]))


def _walk(schema: Schema, along: NDArray[np.float64], decoded: Decoded) -> Walk:
    stops = np.quantile(along, np.linspace(_OUTERMOST, 1 - _OUTERMOST, _STOPS))
    neighbours = min(len(along), max(_LEAST_NEIGHBOURS, round(_NEIGHBOUR_SHARE * len(along))))
    nearest = np.argsort(np.abs(stops[:, None] - along), axis=1, kind="stable")[:, :neighbours]
    rows = []
    for at, column in enumerate(schema.columns):
        levels, cells = _along(column, at, decoded, nearest)
        rows.append((float(levels.max() - levels.min()), WalkRow(column.name, cells, tuple(levels.round(3).tolist()))))
    changed = sorted((row for row in rows if row[0] >= _LEAST_CHANGE), key=lambda row: -row[0])[:_MOST_ROWS]
    return Walk(tuple(row for _, row in changed), len(rows) - len(changed), neighbours)


def _along(
    column: Column, at: int, decoded: Decoded, nearest: NDArray[np.intp]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return a column at each stop as a number from 0 to 1, and in words."""
    if isinstance(column, NumericColumn):
        means = decoded.location[:, at][nearest].mean(axis=1)
        low, high = column.quantiles[1], column.quantiles[-2]
        levels = np.clip((means - low) / (high - low or 1.0), 0.0, 1.0)
        written = on_grid(column)
        return levels, tuple(_short(written(mean)) for mean in means.tolist())
    if isinstance(column, BooleanColumn):
        shares = decoded.location[:, at][nearest].mean(axis=1)
        return shares, tuple(f"{share:.0%} true" for share in shares.tolist())
    first = decoded.categories[at][0][nearest].mean(axis=1)  # (stops, categories or hours)
    changing = int(np.ptp(first, axis=0).argmax())
    if isinstance(column, TimestampColumn):
        weekdays = decoded.categories[at][1][nearest].mean(axis=1).argmax(axis=1)
        hours = first.argmax(axis=1)
        names = tuple(f"{WEEKDAYS[day]} {hour:02}:00" for day, hour in zip(weekdays, hours, strict=True))
        return first[:, changing], names
    return first[:, changing], tuple(_category(column.categories, shares) for shares in first)


def _category(names: tuple[str, ...], shares: NDArray[np.float64]) -> str:
    at = int(shares[: len(names)].argmax())
    return f"{short_name(names[at]) or '(empty)'} {shares[at]:.0%}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
