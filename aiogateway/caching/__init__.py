"""What is stored of answers (RFC 9111)."""
