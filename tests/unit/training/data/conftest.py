from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet
import pytest


@pytest.fixture
def csv_of(tmp_path):
    """Write columns as a CSV file; the constant column beside them keeps the file learnable."""

    def write(name="a.csv", **columns):
        path = tmp_path / name
        lines = [",".join((*columns, "constant"))]
        lines += [
            ",".join("" if cell is None else str(cell) for cell in (*row, 7))
            for row in zip(*columns.values(), strict=True)
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def parquet_of(tmp_path):
    def write(name="a.parquet", **columns):
        path = tmp_path / name
        pyarrow.parquet.write_table(pa.table(columns), path)
        return path

    return write
