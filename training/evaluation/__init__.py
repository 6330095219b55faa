"""`vaegis-train evaluate`: measure a model on labelled records, beside other detectors."""
