"""torch modules to ONNX graphs that onnxruntime 1.17 and later read."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from service.contract import CategoricalColumn, Schema
from training.model.preprocessing import NULL_CODE

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
    records = torch.export.Dim("n")
    with _quiet():
        program = torch.onnx.export(
            module,
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {0: records} for name in inputs},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:  # only without dynamo
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    _strip(model)
    model.ir_version = IR_VERSION
    model.producer_name = "vaegis"
    return model


def prepend_category_lookup(model: onnx.ModelProto, schema: Schema) -> None:
    """Replace the input `codes` by `strings` and `strings_observed`, looked up within the graph."""
    columns = [schema.columns[i] for i in schema.string_positions]
    nodes, looked_up = [], []
    for at, column in enumerate(columns):
        assert isinstance(column, CategoricalColumn)  # noqa: S101 - by the definition of string_positions
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
        model.graph.input.append(helper.make_tensor_value_info(name, kind, ["n", len(columns)]))
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress and advice; its failures are exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
