"""Make tests/golden/orders-v2.onnx: a small model of invented orders with a column of every kind.

Run: python tests/golden/make_golden.py [OUTPUT]   (needs the training extra)
The file is made once per format version and then kept: a service must load every version ever released.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vaegis.training import cli

_HERE = Path(__file__).parent
_SETTINGS = """
[splits]
calibration_share = 0.25
[model]
hidden = 16
latent_dim = 4
[fit]
steps = 1500
exemplars = 64
draws = 4
[export]
model_name = "orders"
"""
_DAY = 86_400


def orders(records: int, seed: int) -> pa.Table:
    """Return invented orders: dearer abroad, express more often where dear, placed in office hours on weekdays."""
    rng = np.random.default_rng(seed)
    country = rng.choice(["DE", "FR", "IT"], records, p=[0.6, 0.3, 0.1])
    level = np.select([country == "DE", country == "FR"], [3.0, 3.2], 3.4)
    amount = np.round(np.exp(rng.normal(level, 0.4)), 2)
    express = rng.random(records) < 1.0 / (1.0 + np.exp(5.0 - 1.2 * np.log(amount)))
    day = rng.integers(0, 52, records) * 7 + rng.integers(0, 5, records)
    monday = 1_704_067_200  # 2024-01-01, a Monday
    placed_at = monday + day * _DAY + rng.integers(8 * 3600, 18 * 3600, records)
    missing = rng.random(records) < 0.05
    return pa.table(
        {
            "order_id": [f"order-{i:06}" for i in range(records)],
            "amount": pa.array(amount, mask=missing),
            "express": express,
            "country": country,
            "placed_at": pa.array(placed_at, pa.timestamp("s", "UTC")),
        }
    )


def main() -> int:
    """Train on 4,000 orders and write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=_HERE / "orders-v2.onnx")
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        data, settings = Path(folder, "orders.parquet"), Path(folder, "train.toml")
        pq.write_table(orders(4_000, seed=0), data)
        settings.write_text(_SETTINGS)
        return cli.main([str(data), "--output", str(output), "--config", str(settings)])


if __name__ == "__main__":
    sys.exit(main())
