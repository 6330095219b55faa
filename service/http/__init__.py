"""The HTTP service: requests to records, verdicts to answers, and what an operator sees of both."""
