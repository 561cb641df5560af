"""Stand-ins for the twenty upstreams and the reCAPTCHA verifier, and the command that runs the gateway before them.

Rules: all of it listens on 127.0.0.1 and speaks to nothing else; it keeps what it is told in bounded memory and forgets
it at the end. `stand_ins` starts the services, `command` is `aiogateway demo`; every other module is a service or what
the services share.
"""
