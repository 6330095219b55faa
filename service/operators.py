"""The operators that a model's graph may use: those that training's export writes, and no other.

None of them has a subgraph, keeps a state, draws a random number or reads a file. The list is short, so a model file
cannot reach a loop, or a fault in one of onnxruntime's many other kernels. `docs/artifact-format.md` has the list as
well; tests compare it with the golden files and with freshly trained models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

INT, TENSOR, INTS, STRINGS = 2, 4, 7, 8
"""Types of attributes, by `AttributeProto.AttributeType` of onnx.proto."""

_AXIS: Final = {"axis": INT}
_KEEPDIMS: Final = {"keepdims": INT}

OPERATORS: Final[Mapping[tuple[str, str], Mapping[str, int]]] = {
    **{
        ("", name): {}
        for name in (
            *("Abs", "Add", "And", "Clip", "Cos", "Div", "Equal", "Exp", "Expand", "Floor", "Greater"),
            *("GreaterOrEqual", "Identity", "IsNaN", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min"),
            *("Mul", "Neg", "Not", "Or", "Reciprocal", "Sigmoid", "Sin", "Slice", "Softplus", "Sqrt"),
            *("Squeeze", "Sub", "Tanh", "Tile", "Unsqueeze", "Where"),
        )
    },
    ("", "ArgMax"): {**_AXIS, **_KEEPDIMS, "select_last_index": INT},
    ("", "Cast"): {"to": INT},
    ("", "Concat"): _AXIS,
    ("", "Constant"): {"value": TENSOR},
    ("", "ConstantOfShape"): {"value": TENSOR},
    ("", "Flatten"): _AXIS,
    ("", "Gather"): _AXIS,
    ("", "GatherElements"): _AXIS,
    ("", "ReduceLogSumExp"): _KEEPDIMS,
    ("", "ReduceMean"): _KEEPDIMS,
    ("", "ReduceMin"): _KEEPDIMS,
    ("", "ReduceSum"): _KEEPDIMS,
    ("", "Reshape"): {"allowzero": INT},
    ("", "Shape"): {},
    ("", "Softmax"): _AXIS,
    ("", "Split"): _AXIS,
    ("", "TopK"): {**_AXIS, "largest": INT, "sorted": INT},
    ("", "Transpose"): {"perm": INTS},
    ("ai.onnx.ml", "LabelEncoder"): {"default_int64": INT, "keys_strings": STRINGS, "values_int64s": INTS},
}
"""Domain and name of each operator, with the types of the attributes that it may have."""

SHAPE_INPUTS: Final[Mapping[str, int]] = {
    "ConstantOfShape": 0,
    **dict.fromkeys(("Expand", "Reshape", "Slice", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze"), 1),
    **{name: 1 for _, name in OPERATORS if name.startswith("Reduce")},
}
"""Operators whose outputs have shapes that depend on values of inputs: on those from this position on."""
