"""Several worker processes, and the parent process that keeps them running."""
