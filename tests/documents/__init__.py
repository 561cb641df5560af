"""The documents: that what they say runs, loads, resolves and is whole."""
