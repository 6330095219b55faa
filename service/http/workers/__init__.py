"""Several processes that answer requests, and one that keeps them running."""
