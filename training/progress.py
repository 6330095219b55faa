"""Show the progress of a training run: a line for each decision, a bar for what takes long."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from vaegis.service.column_report import IGNORED, WATCHED, column_description, column_kind
from vaegis.service.contract import Calibration, Schema
from vaegis.service.pvalues import guarantee
from vaegis.service.terminal import counted, percent
from vaegis.training.calibration import far_threshold
from vaegis.training.checks import DroppedCheck
from vaegis.training.config import HOW_TO_SET, SETTINGS_FILE
from vaegis.training.console import verbatim
from vaegis.training.data.profiling.profile import DataProfile
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.splits import Splits
from vaegis.training.evaluation.intervals import promised_band
from vaegis.training.fit import Epoch, Fitted
from vaegis.training.review import LABEL

_MEBIBYTE = 2**20
_MOST_LOCATIONS = 3
_MANY_RECORDS = 100_000  # so many that their own chance adds nothing to the false-alarm rate


class Progress:
    """Writes to one console; on something that is no terminal, bars shrink to their last line."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        self._console = console

    @contextmanager
    def reading(self, size_bytes: int) -> Iterator[Callable[[int], None]]:
        """Show how many records were read; gives the function to call with that number."""
        with self._bars(TextColumn("{task.completed:,} records")) as bars:
            task = bars.add_task(f"reading {_size(size_bytes)}", total=None)
            yield lambda records: bars.update(task, completed=records)

    def columns(self, profile: DataProfile, schema: Schema) -> None:
        """Show each column's kind, why, and what was seen."""
        header = ("column", "kind", "null", "not finite", "why, and what training saw")
        known = {column.name: column for column in (*schema.columns, *schema.watched, *schema.ignored)}
        watched = {column.name for column in schema.watched}
        kinds = {name: WATCHED if name in watched else column_kind(column) for name, column in known.items()}
        missing = {column.name: column.missing_share for column in (*schema.columns, *schema.watched)}
        texts = {name for name, kind in kinds.items() if kind in ("categorical", "text")}
        non_finite_of = {c.name: 0 if c.name in texts else c.numbers.non_finite for c in profile.columns}
        any_non_finite = any(non_finite_of.values())
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in header if any_non_finite else (*header[:3], header[4]):
            table.add_column(title, overflow="fold")
        for column in profile.columns:
            kind, non_finite = kinds[column.name], non_finite_of[column.name]
            nulls = column.nulls if column.name in texts else column.nulls_and_markers
            if not nulls and not non_finite and (found := missing.get(column.name)):
                nulls = max(1, round(found * column.records))  # times, and written numbers, that the settings name
            counts = [f"[yellow]{non_finite:,}[/yellow]" if non_finite else ""] if any_non_finite else []
            table.add_row(
                verbatim(column.name),
                f"[yellow]{kind}[/yellow]" if kind in (IGNORED, WATCHED) else kind,
                _share(nulls, column.records) if nulls else "",
                *counts,
                verbatim(column_description(known[column.name])),
            )
        self._console.print(table)

    def notes(self, notes: Iterable[str]) -> None:
        """Show what the user should know, and where the settings stand that it names."""
        shown = list(notes)
        if any(SETTINGS_FILE in note for note in shown):
            shown.append(HOW_TO_SET)
        for note in shown:
            self._console.print(f"[yellow]{verbatim(note)}[/yellow]", highlight=False)

    def splits(self, records: int, splits: Splits, labelled: int = 0) -> None:
        """Show how many records were read, how those kept are split, and how many are labelled as anomalies."""
        fitted, calibrating = splits.fitted_records.size, splits.calibration_records
        if splits.method == "split-conformal":
            sampled, shown = fitted + calibrating, f"{fitted:,} fit, {calibrating:,} calibration"
        else:
            members = len(splits.calibration)
            sampled, shown = (
                calibrating,
                f"{members} models, each fitted to {splits.fit.shape[1]:,} and calibrated by the rest",
            )
        read = f"{records:,} records" if sampled == records else f"{records:,} records, a sample of {sampled:,} kept"
        if splits.groups is not None:
            shown += f", whole groups of {splits.groups:,}"
        undated = f" ({splits.undated:,} without a time are split like the others)" if splits.undated else ""
        self._console.print(f"{read}: {shown}{undated}")
        if labelled:
            self._console.print(f"{labelled:,} records labelled as anomalies do not calibrate")

    def checks(self, schema: Schema, dropped: Sequence[DroppedCheck]) -> None:
        """Show how many checks there are, how often normal records break them, and which were dropped."""
        checks = sum(len(column.checks) for column in schema.of_records.columns)
        self._console.print(
            f"{checks:,} checks of single values; {schema.violating_share:.2%} of the calibration records break one"
        )
        for check in dropped:
            self._console.print(
                f"[yellow]{verbatim(check.column)}: {check.code.value} is not checked, because {check.share:.2%} of "
                "the calibration records would break it[/yellow]"
            )

    @contextmanager
    def fitting(self) -> Iterator[Callable[[Epoch], None]]:
        """Show the epochs and their losses; gives the function to call after each."""
        with self._bars(BarColumn(bar_width=10), TextColumn("{task.fields[losses]}")) as bars:
            task = bars.add_task("fitting", total=None, losses="")

            def on_epoch(epoch: Epoch) -> None:
                bars.update(
                    task,
                    total=epoch.total,
                    completed=epoch.number,
                    losses=f"epoch {epoch.number}/{epoch.total} loss {epoch.loss:.2f} nats",
                )

            yield on_epoch

    def left_out(self, locations: Sequence[RowLocation]) -> None:
        """Show which records were unlike the others in fitting."""
        if locations:
            first = verbatim(_places(locations[:_MOST_LOCATIONS]))
            more = ", ..." if len(locations) > _MOST_LOCATIONS else ""
            self._console.print(
                f"left out of fitting: {counted(len(locations), 'record')} least like the others ({first}{more})"
            )

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """Show that something without a known length is going on."""
        with self._bars() as bars:
            task = bars.add_task(what, total=1)
            yield
            bars.update(task, completed=1)

    def done(self, output: Path, calibration: Calibration, fitted: Fitted) -> None:
        """Show what was written and what it promises."""
        if fitted.interrupted:
            self._console.print(f"[yellow]interrupted after epoch {fitted.epochs}: the model so far is kept[/yellow]")
        self._console.print(
            f"{verbatim(str(output))}: {_size(output.stat().st_size)}, {calibration.method} with "
            f"{calibration.records:,} calibration records"
        )
        folds = [np.array(fold) for fold in calibration.folds]
        self._console.print(guarantee(folds, calibration.alpha, calibration.history_anomalies))
        if calibration.method == "split-conformal" and not calibration.history_anomalies:
            band = promised_band(calibration.records, _MANY_RECORDS, calibration.alpha)
            self._console.print(
                f"That is an average over models. With {calibration.records:,} calibration records, 95% of models flag "
                f"between {band.low:.2%} and {band.high:.2%} of the normal records."
            )
        far = far_threshold(calibration)
        if far is not None:
            at_alpha, usual = far
            self._console.print(
                f"[yellow]The threshold is {at_alpha:.3g}, although nine in ten calibration records score below "
                f"{usual:.3g}. If more than {percent(calibration.alpha)} of the history are anomalies, these set the "
                "threshold, and few others reach it: set calibration.history_anomalies to their share in train.toml, "
                "or train without them.[/yellow]"
            )

    def review(self, path: Path) -> None:
        """Show where the records to label are, and what to do with them."""
        self._console.print(
            f"{verbatim(str(path))}: calibration records of the highest scores. Fill in {LABEL}, 1 for anomalies and 0 "
            "for normal records, and train again with calibration.labels set to this file"
        )

    def _bars(self, *columns: BarColumn | TextColumn) -> Bars:
        return Bars(TextColumn("{task.description}"), *columns, TimeElapsedColumn(), console=self._console)


def _size(size_bytes: int) -> str:
    """Return a number of bytes for people."""
    return f"{size_bytes / _MEBIBYTE:,.1f} MiB" if size_bytes >= _MEBIBYTE else f"{size_bytes / 1024:,.0f} KiB"


def _share(count: int, total: int) -> str:
    """Return a share in per cent, which is not 0 where there is one.

    >>> _share(1, 4), _share(1, 6_000)
    ('25.0%', '<0.1%')
    """
    share = f"{count / total:.1%}"
    return share if share != "0.0%" else "<0.1%"


def _places(locations: Sequence[RowLocation]) -> str:
    """Return the rows of records, with the path of each file once."""
    files = [(path, [str(at.row) for at in of_file]) for path, of_file in groupby(locations, lambda at: at.path)]
    return "; ".join(f"{'row' if len(rows) == 1 else 'rows'} {', '.join(rows)} of {path}" for path, rows in files)
