"""One request's way to an upstream and back."""
