"""Records as they come, from JSON or from files, turned into the columns that a model scores."""
