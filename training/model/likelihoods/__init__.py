"""One file for each kind of column: the likelihood of a value, given the decoder's output."""
