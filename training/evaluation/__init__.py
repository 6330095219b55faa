"""`vaegis-train evaluate`: a model on labelled records, beside other detectors."""
