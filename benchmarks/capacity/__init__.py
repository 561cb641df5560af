"""How many machines for how many requests: a model of the gateway's capacity, and what it is checked against.

`measured` has the figures, `model` the plan that follows from them, `queueing` and `limiting` the formulas of waiting
and of what limits admit, `limits` where each limit lies. `simulation` checks the formulas, `comparison` both against
four gateways that run, `measure` takes the figures that `scripts/bench` doesn't write down. Run as `scripts/capacity`.
"""
