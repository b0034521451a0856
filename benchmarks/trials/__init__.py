"""Trials, the benchmarks' unit of work: one method trained on one domain, evaluated on all.

trial.py       what is trained and evaluated, and with which settings
key.py         what identifies a trial's result: its settings, and the code behind it
store.py       finished trials on disk; missing ones are computed, in one process or several
fcus.py        FCUS-rPPG, trained or untrained
contaminated.py  FCUS-rPPG, trained on folders with recordings without a pulse
peer.py        SiNC and Contrast-Phys
evaluation.py  predictions in all windows of the domains; classical methods
diagnosis.py   what each level is meant to change, measured during a training
epoch_cost.py  time and memory of one epoch
sample.py      a few small trials, to compare two versions of the code
"""
