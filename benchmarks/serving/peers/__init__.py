"""What people would take instead: model servers from PyPI over the same exported model."""
