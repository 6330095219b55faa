"""Arrow IPC streams decoded without a library of Arrow's."""
