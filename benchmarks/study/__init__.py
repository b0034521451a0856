"""What the studies (convergence, cross_domain, ablation, contamination, ...) share.

options.py           the command line of those that train
output.py            claims with their outcome, and the results files
difference_claim.py  claims of the mask less another arm
statistics.py        errors by subject, paired differences, intervals, Holm's correction, effects
transfer.py          the table of cross_domain: errors by training and test domain
recordings.py        measurements of single recordings, each made once and stored
"""
