"""The generator graph: draws from the prior, decoded. Of an ensemble, the first member generates."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vaegis.service.contract import Schema
from vaegis.training.model.exportable import IndexSelect
from vaegis.training.model.likelihoods.timestamp import FIELDS
from vaegis.training.model.preprocessing import Values
from vaegis.training.model.vae import VAE, DecodedTensors

_QUARTILE = 0.7407  # half of the draws from a Student-t of 4 degrees of freedom lie within it
_LEAST_SCALE = 1e-6


class GeneratorOutputs(NamedTuple):
    """Outputs of the generator graph."""

    location: Float[Tensor, "n d"]
    """Numeric: mean in the column's own unit; boolean: P(true); others 0. float64."""
    missing: Float[Tensor, "n d"]
    """P(null)."""
    categories: Float[Tensor, "n slots"]
    """Probabilities over the categories of each categorical column, over 24 hours and 7 weekdays of each timestamp, and
    of a quantity and each placeholder of a numeric column that has placeholders; in schema order."""


class GeneratorGraph(nn.Module):
    """A draw from the prior in, the distribution of every column out."""

    exemplars: Tensor

    def __init__(self, vae: VAE, schema: Schema, exemplars: Float[Tensor, "e m l"]) -> None:
        """Wrap a fitted model."""
        super().__init__()
        self.vae = vae.member(0)
        self.register_buffer("exemplars", exemplars[0])
        slots = _slots_in_schema_order(vae)
        self.in_schema_order = IndexSelect(slots, of=len(slots))
        self.others = len(schema.columns) - vae.numerics - vae.booleans

    def forward(self, exemplar: Int[Tensor, " n"], latent_noise: Float[Tensor, "n l"]) -> GeneratorOutputs:
        """Decode z = exemplars[exemplar] + width * latent_noise.

        Args:
            exemplar: Component of the prior, uniform in 0 .. M - 1.
            latent_noise: Draws from the kernel at width one: each record's normal draws over sqrt(chi2(nu) / nu).
        """
        vae = self.vae
        z = self.exemplars[exemplar] + vae.prior.width[0] * latent_noise
        drawn = vae.decode(z[None])
        decoded, missing = DecodedTensors(*(part[0] for part in drawn)), vae.null_probability(drawn)[0]
        mean = vae.preprocessing.center + vae.preprocessing.unit * decoded.mean.double()
        nothing = torch.zeros_like(missing[:, : self.others]).double()
        by_kind = torch.cat([mean, decoded.true.double(), nothing], dim=1)
        return GeneratorOutputs(vae.from_kinds(by_kind), missing, self.in_schema_order(decoded.categories))


@torch.no_grad()
def noise_scales(vae: VAE, values: Values) -> list[float]:
    """Return the scale of each numeric column's noise around what the decoder makes of a record, standardised units.

    The likelihood's own scale is wider: it covers records of which fitting hid a part. This one is that of a Student-t
    with the same median of absolute residuals, records being seen whole.

    Args:
        vae: The model, of which the first member generates.
        values: Records that this member was fitted to.
    """
    alone = vae.member(0)
    mu, _ = alone.encode(values)
    residuals = (values.numeric - alone.decode(mu).mean[0]).abs()
    is_quantity = values.observed[:, vae.kind_positions[0]]
    if vae.with_placeholders:
        is_quantity = is_quantity & (values.placeholders @ vae.preprocessing.slot_column == 0.0)
    residuals = torch.where(is_quantity, residuals, torch.nan)
    scales = residuals.nanmedian(dim=0).values / _QUARTILE
    return [max(_LEAST_SCALE, scale) for scale in scales.tolist()]


def _slots_in_schema_order(vae: VAE) -> list[int]:
    """Return which slot of the decoder each slot of the output `categories` is."""
    if vae.categorical is None:
        return []
    first, sizes = vae.categorical.first_slot.tolist(), vae.categorical.sizes.tolist()
    numerics, _, categorical, instants = vae.kind_positions
    fields: dict[int, list[int]] = {}  # of the decoder, by position of their column
    end = 0
    for position in (*categorical, *instants):
        start, end = end, end + (len(FIELDS) if position in instants else 1)
        fields[position] = [*range(start, end)]
    for at in vae.dates:  # they follow, the months before the days
        fields[instants[at]].append(end)
        end += 1
    for at in vae.with_placeholders:
        fields[numerics[at]] = [end]
        end += 1
    return [
        slot
        for position in sorted(fields)
        for field in fields[position]
        for slot in range(first[field], first[field] + sizes[field])
    ]
