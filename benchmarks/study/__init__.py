"""What the three studies (convergence, cross_domain, ablation) share beside their trials.

options.py     their command line
claims.py      claims with their outcome, and the results files
statistics.py  errors by subject, paired differences, intervals, Holm's correction, effects
transfer.py    the table of cross_domain: errors by training and test domain
"""
