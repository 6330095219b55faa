from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch

from vaegis.service.contract import Schema, TimestampColumn
from vaegis.service.draws import DecodedColumn, instants
from vaegis.training.data.zones import zone_offsets
from vaegis.training.errors import DataError
from vaegis.training.model.likelihoods import timestamp
from vaegis.training.model.preprocessing import Preprocessing

pytestmark = pytest.mark.training

START, END = 1_700_000_000.0, 1_735_000_000.0
RANDOM = np.random.default_rng(0)


def column_of(zone, name="at"):
    return TimestampColumn(
        name=name, missing_share=0.0, earliest=START, latest=END, zone=zone, offsets=zone_offsets(zone, START, END)
    )


def local(seconds, zone):
    moments = [datetime.fromtimestamp(s, UTC).astimezone(ZoneInfo(zone)) for s in seconds]
    return [[moment.hour, moment.weekday()] for moment in moments]


def near_clock_changes(column):
    changes = [at for at, _ in column.offsets[1:]]
    return np.array([*(at + d for at in changes for d in (-1, 0, 3599, 3600)), *RANDOM.uniform(START, END + 6e8, 200)])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
def test_hours_and_weekdays_of_the_graph_are_those_of_the_local_clock(zone):
    # Beside a column in another zone, so that each has its own.
    columns = (column_of(zone), column_of("Asia/Tokyo", "other"))
    seconds = np.floor(near_clock_changes(columns[0]))
    codes = Preprocessing(Schema(columns=columns))(torch.from_numpy(np.stack([seconds, seconds], axis=1))).codes
    assert codes[:, : len(timestamp.FIELDS)].tolist() == local(seconds, zone)
    assert codes[:, len(timestamp.FIELDS) :].tolist() == local(seconds, "Asia/Tokyo")


def test_generated_instants_have_the_hour_and_weekday_that_were_drawn_by_the_local_clock():
    column = column_of("America/New_York")
    hour, weekday = np.eye(24)[np.full(500, 8)], np.eye(7)[np.full(500, 0)]
    drawn = instants(column, DecodedColumn(np.zeros(500), (hour, weekday)), RANDOM)
    assert local(drawn, "America/New_York") == [[8, 0]] * 500
    assert drawn.min() >= START
    assert drawn.max() <= END


def test_a_fixed_offset_has_no_clock_changes():
    assert zone_offsets("+05:30", START, END) == ((0.0, 19800.0),)
    assert zone_offsets("-02:00", START, END) == ((0.0, -7200.0),)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "+25 hours", "../etc"])
def test_an_unknown_zone_is_refused_by_its_name(zone):
    with pytest.raises(DataError, match="expected a time zone such as Europe/Berlin"):
        zone_offsets(zone, START, END)
