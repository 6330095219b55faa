"""The offline half of vaegis: learns from records and exports one ONNX file."""
