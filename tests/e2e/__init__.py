"""End-to-end tests: the real program as a process, spoken to with raw bytes over sockets."""
