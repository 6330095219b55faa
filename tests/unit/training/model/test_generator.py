"""The noise of generated records."""

import pytest
import torch
from scipy.stats import t as student_t

from vaegis.training.model.generator import _QUARTILE, noise_scales
from vaegis.training.model.preprocessing import rows

pytestmark = pytest.mark.training


def test_half_of_a_students_draws_lie_within_the_quartile():
    assert student_t(df=4).ppf(0.75) == pytest.approx(_QUARTILE, abs=1e-4)


def test_half_of_the_residuals_of_the_records_fitted_lie_within_the_quartile_of_their_scale(prepared):
    vae = prepared.model(members=2)
    values = prepared.values(vae)
    seen = rows(values, torch.arange(0, len(values.observed), 2))
    scales = torch.tensor(noise_scales(vae, seen))
    with torch.no_grad():
        mu, _ = vae.encode(seen)
        residuals = (seen.numeric - vae.decode(mu).mean[0]).abs()
    there = seen.observed[:, vae.kind_positions[0]]
    within = ((residuals <= _QUARTILE * scales) & there).sum(0) / there.sum(0)
    assert scales.shape == (residuals.shape[1],)
    torch.testing.assert_close(within, torch.full_like(within, 0.5), atol=0.02, rtol=0.0)


def test_a_column_that_is_null_throughout_has_some_scale(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    nothing = vae.hide(values, torch.ones_like(values.observed))
    assert all(scale > 0 for scale in noise_scales(vae, nothing))
