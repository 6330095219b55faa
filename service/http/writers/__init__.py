"""Answers of POST /score written block by block, each format in its file."""
