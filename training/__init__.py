"""The offline half of vaegis: it learns from records and exports one ONNX file."""
