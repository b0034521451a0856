"""Options of the synthetic domains: the domain's own people, changed in one respect.

Domains are frozen. Options stand beside them: a domain's recordings without options have the same
bits whatever is here. What an option draws comes from generators of its own, so that two options
don't change each other's draws.
"""
