"""Convert torch modules to ONNX graphs that onnxruntime 1.17 and later read."""

import io
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from vaegis.service.contract import Schema
from vaegis.training.model.preprocessing import NULL_CODE

OPSET = 18
ML_OPSET = 3
"""Of the domain ai.onnx.ml, for LabelEncoder."""
IR_VERSION = 8
"""The lowest that opset 18 allows; onnxruntime 1.17 reads up to 9."""


def to_onnx(module: nn.Module, inputs: Mapping[str, Tensor], outputs: tuple[str, ...]) -> onnx.ModelProto:
    """Return the graph of a module, for any number of records.

    Args:
        module: In evaluation mode; its arguments and results have the number of records as first dimension.
        inputs: An example of each argument, by name, of two records or more.
        outputs: Name of each result.
    """
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # That this exporter is the older one (ADR 0014), and that shapes which the module decides by become constants.
        warnings.simplefilter("ignore")
        examples = module(*inputs.values())
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            file,  # type: ignore[arg-type]  # this exporter takes one, though the signature has the other's
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "n"} for name in (*inputs, *outputs)},
            opset_version=OPSET,
            # The runtime folds constants as it loads the graph; folded here, known records would be in the file twice.
            do_constant_folding=False,
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
    _strip(model)
    # The exporter has names of its own for widths that it does not know to be fixed.
    for node, example in zip(model.graph.output, examples, strict=True):
        shape = ["n", *example.shape[1:]]
        node.CopyFrom(helper.make_tensor_value_info(node.name, node.type.tensor_type.elem_type, shape))
    model.ir_version = IR_VERSION
    model.producer_name = "vaegis"
    return model


def prepend_category_lookup(model: onnx.ModelProto, schema: Schema) -> None:
    """Replace the input `codes` by `strings` and `strings_observed`, looked up within the graph."""
    nodes, looked_up = [], []
    for at, column in enumerate(schema.categorical):
        size = len(column.categories)
        names = [f"category_{at}_{part}" for part in ("index", "string", "code")]
        model.graph.initializer.append(numpy_helper.from_array(np.array([at], dtype=np.int64), names[0]))
        nodes.append(helper.make_node("Gather", ["strings", names[0]], [names[1]], axis=1))
        nodes.append(
            helper.make_node(
                "LabelEncoder",
                [names[1]],
                [names[2]],
                domain="ai.onnx.ml",
                keys_strings=list(column.categories),
                values_int64s=list(range(size)),
                default_int64=size,
            )
        )
        looked_up.append(names[2])
    model.graph.initializer.append(numpy_helper.from_array(np.array(NULL_CODE, dtype=np.int64), "null_code"))
    nodes.append(helper.make_node("Concat", looked_up, ["category_codes"], axis=1))
    nodes.append(helper.make_node("Where", ["strings_observed", "category_codes", "null_code"], ["codes"]))
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    kept = [node for node in model.graph.input if node.name != "codes"]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for name, kind in (("strings", TensorProto.STRING), ("strings_observed", TensorProto.BOOL)):
        model.graph.input.append(helper.make_tensor_value_info(name, kind, ["n", len(schema.categorical)]))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))


def _strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes of the code that it traced: paths, and nothing a runtime needs."""
    del model.metadata_props[:]
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
