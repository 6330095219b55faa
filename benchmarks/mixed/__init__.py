"""How many injected faults are found in real records with categories, nulls and timestamps."""
