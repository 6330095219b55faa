"""Decode bodies of many records part by part. Memory does not grow with their length."""
