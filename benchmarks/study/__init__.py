"""What the studies (convergence, cross_domain, ablation, contamination, ...) share.

from_study.py        the command line of those whose trials are a study's of the package, and these
kept_trials.py       the trials of such studies that are kept in git
options.py           the command line of those that compute trials of their own
output.py            claims with their outcome, and the results files
difference_claim.py  claims of the mask less another arm
statistics.py        errors by subject, paired differences, intervals, Holm's correction, effects
transfer.py          the table of cross_domain: errors by training and test domain
recordings.py        measurements of single recordings, each made once and stored
"""
