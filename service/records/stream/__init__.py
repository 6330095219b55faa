"""Bodies of many records decoded part by part, at a memory that does not grow with their length."""
