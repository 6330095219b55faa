"""Everything that needs pyarrow (the `files` extra): reading, scoring and writing files and tables of records."""
