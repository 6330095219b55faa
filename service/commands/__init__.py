"""One file for each command of `vaegis`."""
