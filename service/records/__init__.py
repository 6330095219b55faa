"""Decode records in the body of a request, or in memory, into the columns that a model scores."""
