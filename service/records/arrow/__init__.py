"""Decode Arrow IPC streams without an Arrow library."""
