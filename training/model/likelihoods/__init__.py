"""One file for each kind of column: how likely a value is under what the decoder says of it."""
