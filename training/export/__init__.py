"""From torch to one verified ONNX file."""
