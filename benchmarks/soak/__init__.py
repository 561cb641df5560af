"""Behind `scripts/soak`: the gateway on bad days, and for a long time.

Each figure starts gateways and backends of its own on loopback, does to them what its name says, and answers with what
it measured. Rules: everything ends by itself; clients behave as HTTP/1.1 asks: they honour `Connection: close`, and
repeat an idempotent request once, on a new connection, when a kept one closes before a byte of the answer.
"""
