"""Who may call: keys, what each allows, and how many records a second."""
