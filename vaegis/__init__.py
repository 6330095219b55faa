"""vaegis: learn what normal records look like, score new ones, and say which columns are anomalous."""
