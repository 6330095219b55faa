"""How many faults of known kind are found in real tables that come in Python packages."""
