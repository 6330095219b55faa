"""The pyarrow wall: files and tables of records read, scored and written, which needs the `files` extra."""
