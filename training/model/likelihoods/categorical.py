"""The likelihood of a category: softmax over the known ones, with a share kept for all others.

All categorical fields of a record are computed together. Their logits stand side by side, one slot a category;
a field is a run of slots. The hour and the weekday of a timestamp are fields too.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vaegis.training.model.exportable import pick, unflatten

_LOGIT_BOUND = 15.0
"""Logits are squashed into this range: exp() then neither overflows nor vanishes in float32, without a maximum."""


class CategoricalLikelihood(nn.Module):
    """P(x|z) = (1 - unseen) * ((1 - s) softmax + s / K) for K known categories, `unseen` for any other value."""

    slot_field: Tensor
    membership: Tensor
    first_slot: Tensor
    sizes: Tensor
    softmax_share: Tensor
    slot_least: Tensor
    unseen: Tensor
    padded: Tensor

    def __init__(self, sizes: list[int], unseen: list[float], smoothing: list[float]) -> None:
        """Set up the fields.

        Args:
            sizes: Number of known categories of each field.
            unseen: Probability of a value that is not among them, in (0, 1), for each field.
            smoothing: Share of the uniform distribution mixed in, so that no known category is impossible, for each
                field.
        """
        super().__init__()
        size = torch.tensor(sizes, dtype=torch.int64)
        slot_field = torch.repeat_interleave(torch.arange(len(sizes)), size)  # (slots,)
        first = torch.cumsum(size, 0) - size
        self.register_buffer("slot_field", slot_field)
        self.register_buffer("membership", torch.nn.functional.one_hot(slot_field, len(sizes)).float())  # (slots, f)
        self.register_buffer("first_slot", first)
        self.register_buffer("sizes", size)
        uniform = torch.tensor(smoothing)
        self.register_buffer("softmax_share", (1.0 - uniform)[slot_field])  # (slots,)
        self.register_buffer("slot_least", (uniform / size)[slot_field])  # (slots,)
        self.register_buffer("unseen", torch.tensor(unseen))
        # Slots of each field in a rectangle, for the arg max; the place behind the last slot pads short fields.
        self._rectangle = (len(sizes), max(sizes))
        position = torch.arange(max(sizes))
        self.register_buffer(
            "padded", torch.where(position < size[:, None], first[:, None] + position, len(slot_field))
        )  # (f, largest size)

    def probabilities(self, logits: Float[Tensor, "*k e n slots"]) -> Float[Tensor, "*k e n slots"]:
        """Return P(category | z, the value is a known one); each field's sum to one."""
        bounded = _LOGIT_BOUND * torch.tanh(logits / _LOGIT_BOUND)
        weight = torch.exp(bounded)
        total = weight @ self.membership  # (*k, n, f)
        softmax = weight / pick(total, self.slot_field)
        return self.softmax_share * softmax + self.slot_least

    def nll(self, p: Float[Tensor, "*k e n slots"], code: Int[Tensor, "*e n f"]) -> Float[Tensor, "*k e n f"]:
        """Return -log P(x | z), nats.

        Args:
            p: What `probabilities` gave.
            code: Position of the value in its field; anything outside 0 .. size - 1 means that it is not a known one.
        """
        known = (code >= 0) & (code < self.sizes)
        slot = self.first_slot + torch.where(known, code, 0)
        chosen = torch.gather(p, -1, slot.expand(*p.shape[:-1], slot.shape[-1]))
        return -torch.log(torch.where(known, (1.0 - self.unseen) * chosen, self.unseen))

    def likeliest(self, p: Float[Tensor, "n slots"]) -> Int[Tensor, "n f"]:
        """Return the code of each field's likeliest category."""
        with_padding = torch.cat([p, -torch.ones_like(p[:, :1])], dim=1)
        fields = unflatten(pick(with_padding, self.padded.flatten()), *self._rectangle)
        likeliest: Tensor = fields.argmax(dim=-1)
        return likeliest
