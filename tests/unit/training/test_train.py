from __future__ import annotations

import pytest

from vaegis.service.contract import BooleanColumn, Schema, TimestampColumn
from vaegis.training.train import default_latent_dim

pytestmark = pytest.mark.training


def schema_of(booleans: int, timestamps: int = 0) -> Schema:
    columns = [BooleanColumn(name=f"b{i}", missing_share=0, true_share=0.5) for i in range(booleans)]
    instants = [TimestampColumn(name=f"t{i}", missing_share=0, earliest=0, latest=1) for i in range(timestamps)]
    return Schema(columns=(*columns, *instants))


@pytest.mark.parametrize(
    ("booleans", "timestamps", "latent_dim"), [(1, 0, 2), (5, 0, 5), (3, 2, 7), (0, 1, 2), (100, 0, 32)]
)
def test_the_latent_space_has_a_dimension_a_column_and_two_a_timestamp_within_bounds(booleans, timestamps, latent_dim):
    assert default_latent_dim(schema_of(booleans, timestamps)) == latent_dim
