"""Measures the gateway beside other proxies, in one run on one machine.

Rules: every proxy is alone on one core, load and backend share the others; rounds are interleaved (A B C, A B C);
what is compared are ratios within a run, never figures of two runs. The gateway is started by its public contract
only, nothing of it is imported. Everything listens on 127.0.0.1, and only processes started here are ended.

`scripts/bench` makes the environment and runs `python -m benchmarks`; `--help` lists the options.
"""
