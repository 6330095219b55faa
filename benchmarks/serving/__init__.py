"""The service under load, beside what bounds it: the graph alone, a server without checks, the way most teams go."""
