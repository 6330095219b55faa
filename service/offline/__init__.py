"""Scoring and generating files without a server: results written as a stream, whole or not at all."""
