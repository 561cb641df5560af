"""The second listener, for those who run the gateway."""
