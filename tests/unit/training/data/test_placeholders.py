"""Values that may stand for a null are named, each column in one line that can be copied."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from vaegis.service.files.record_files import open_records
from vaegis.training.config import TrainConfig
from vaegis.training.data.kinds import plan_columns
from vaegis.training.data.placeholders import (
    find_placeholders,
    lone_negatives,
    spikes,
    usual_placeholders,
    with_placeholders,
)
from vaegis.training.data.sampling import profile_and_sample

pytestmark = pytest.mark.training
N = 1500


def holding(values, **placeholders):
    """Return numbers of which some are placeholders: each, by its name, in a share of the records."""
    random = np.random.default_rng(1)
    values = np.array(values, dtype=np.float64)
    for text, share in placeholders.items():
        values[random.random(values.size) < share] = float(text.replace("minus", "-"))
    return values


def drawn(name, *args):
    return getattr(np.random.default_rng(2), name)(*args, N)


def found_in(values):
    found = find_placeholders(values)
    others = values[~np.isin(values, found)]
    return {*found, *lone_negatives(others), *usual_placeholders(others), *spikes(others)}


@pytest.mark.parametrize(
    ("values", "placeholders"),
    [
        (drawn("normal", 20.0, 3.0).round(1), {"minus999": 0.04, "9999": 0.04}),
        (drawn("normal", 125.0, 16.0).round(), {"0": 0.05}),
        (drawn("integers", 18, 91), {"997": 0.02, "998": 0.01, "999": 0.03}),
        (drawn("integers", 18, 91), {"97": 0.02, "99": 0.03}),
        (drawn("integers", 0, 61), {"minus1": 0.03, "minus9": 0.02}),
        (drawn("integers", 1, 6), {"99": 0.05}),
        (drawn("integers", 1, 6), {"9": 0.05}),
        (drawn("integers", 1, 11), {"minus1": 0.05, "minus9": 0.02}),
        (drawn("lognormal", 10.0, 0.6).round(), {"99998": 0.02, "99999": 0.04}),
    ],
)
def test_usual_placeholders_are_found(values, placeholders):
    assert found_in(holding(values, **placeholders)) == {float(text.replace("minus", "-")) for text in placeholders}


@pytest.mark.parametrize(
    "values",
    [
        drawn("poisson", 3.0),
        drawn("poisson", 30.0),
        holding(drawn("poisson", 12.0), **{"0": 0.3}),
        holding(drawn("uniform", 5.0, 40.0).round(), **{"0": 0.6}),
        drawn("integers", 0, 91),
        drawn("integers", 40, 100),
        drawn("integers", -1, 2),
        drawn("integers", 1, 10),
        drawn("choice", [1, 2, 3, 4, 5, 6, 9]),
        drawn("choice", [99, 199, 299, 599, 799, 899, 999]),
        drawn("choice", [*range(1, 31), 100, 200, 300]),
        drawn("lognormal", 3.0, 1.0).round(1),
    ],
)
def test_ordinary_numbers_hold_none(values):
    assert found_in(np.array(values, dtype=np.float64)) == set()


@pytest.mark.parametrize(
    ("array", "nulls"),
    [
        (holding(drawn("normal", 20.0, 3.0).round(1), minus999=0.04, **{"9999": 0.04}), ["-999", "9999"]),
        (holding(drawn("normal", 30.0, 8.0), **{"minus999.9": 0.05}).astype(np.float32), ["-999.9000244140625"]),
        (holding(drawn("integers", 100, 5000), minus9223372036854775808=0.05), ["-9.223372036854776e+18"]),
    ],
)
def test_the_line_that_a_warning_shows_makes_them_nulls(parquet_of, array, nulls):
    path = parquet_of(reading=array)
    (plan,), sample = planned(path, TrainConfig())
    (warned,) = with_placeholders((plan,), sample)
    line = warned.warnings[-1].rpartition(" set ")[2]
    assert tomllib.loads(line) == {"columns": {"reading": {"null_values": nulls}}}
    (plan,), sample = planned(path, TrainConfig.model_validate(tomllib.loads(line)))
    known = np.isin(array, [float(text) for text in nulls])
    assert np.isnan(sample.numbers("reading", "numeric", plan.reading)).tolist() == known.tolist()


def planned(path, config):
    profile, sample = profile_and_sample(open_records(path), config, np.random.default_rng(0))
    return plan_columns(profile, config), sample
