"""What all records hold, column by column: counts, numbers and texts, and how these are written."""
