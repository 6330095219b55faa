from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import StudentT

from vaegis.service.contract import NumericColumn
from vaegis.training.model.likelihoods.numeric import DEGREES_OF_FREEDOM, NumericLikelihood

pytestmark = pytest.mark.training


def new_column(step: float, *, maximum: float = 1.0) -> NumericColumn:
    return NumericColumn(
        name=str(step),
        missing_share=0.0,
        minimum=0.0,
        maximum=maximum,
        quantiles=(0.0,) * 7,
        step=step,
        noise_scale=1.0,
        degrees_of_freedom=DEGREES_OF_FREEDOM,
    )


def new_likelihood(*steps: float, unit: float = 2.0, members: int = 1) -> NumericLikelihood:
    columns = [new_column(step) for step in steps]
    return NumericLikelihood(columns, torch.full((len(columns),), unit, dtype=torch.float64), members)


def test_it_is_the_negative_log_density_of_a_student_t():
    likelihood = new_likelihood(0.0, 1.0, 0.01, members=2)
    with torch.no_grad():
        likelihood.raw_scale.copy_(torch.tensor([[[-2.0, 0.0, 3.0]], [[1.0, -1.0, 0.5]]]))
    generator = torch.Generator().manual_seed(0)
    x = 3.0 * torch.randn((20, 3), generator=generator)
    mean = torch.randn((4, 2, 20, 3), generator=generator)
    expected = -StudentT(DEGREES_OF_FREEDOM, mean, likelihood.scale).log_prob(x)
    torch.testing.assert_close(likelihood.nll(mean, x), expected)


@pytest.mark.parametrize("x", [1e6, -1e6])
def test_it_grows_with_the_logarithm_of_the_distance(x):
    likelihood, mean = new_likelihood(0.0), torch.zeros((1, 1, 1))
    far = likelihood.nll(mean, torch.tensor([[x]]))
    further = likelihood.nll(mean, torch.tensor([[10.0 * x]]))
    assert float((further - far).detach()) == pytest.approx((DEGREES_OF_FREEDOM + 1) * math.log(10), rel=1e-3)


def test_the_scale_never_falls_below_its_floor():
    likelihood = new_likelihood(0.0, 1.0)
    with torch.no_grad():
        likelihood.raw_scale.fill_(-50.0)
    no_grid, whole_numbers = likelihood.scale.flatten().tolist()
    assert no_grid == pytest.approx(0.05)
    # One whole number is half a standardised unit here; a uniform over it deviates by its width / sqrt(12).
    assert whole_numbers == pytest.approx(0.5 / math.sqrt(12))


def test_the_grid_of_a_constant_column_has_no_part_in_its_floor():
    constant = NumericLikelihood([new_column(1.0, maximum=0.0)], torch.ones(1, dtype=torch.float64), 1)
    assert constant.floor.tolist() == pytest.approx([0.05])


def test_the_scale_starts_at_one_above_its_floor():
    assert new_likelihood(0.0).scale.flatten().tolist() == pytest.approx([1.05])


def test_its_gradient_pulls_the_mean_towards_the_value_and_the_scale_towards_the_residual():
    likelihood = new_likelihood(0.0)
    mean = torch.zeros((1, 1, 1), requires_grad=True)
    likelihood.nll(mean, torch.tensor([[20.0]])).sum().backward()
    assert mean.grad is not None
    assert likelihood.raw_scale.grad is not None
    assert float(mean.grad) < 0
    assert float(likelihood.raw_scale.grad) < 0


def test_no_columns_have_no_terms():
    assert new_likelihood().nll(torch.zeros((2, 1, 5, 0)), torch.zeros((5, 0))).shape == (2, 1, 5, 0)
