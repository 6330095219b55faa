"""Processes that serve: one, or several and the parent process that keeps them running."""
