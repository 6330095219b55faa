"""The report of a model: one HTML page that needs nothing else."""
