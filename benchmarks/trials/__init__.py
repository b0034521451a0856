"""Trials that a study of the package (`rppg.study`) can't say: one method trained on one domain.

trial_settings.py     what is trained and evaluated, and with which settings
key.py                what identifies a trial's result: its settings, and the code behind it
store.py              finished trials on disk; missing ones are computed, in one process or several
fcus.py               FCUS-rPPG, with a diagnosis of what each level changes: diagnosis.py
contaminated.py       FCUS-rPPG, trained on folders with recordings without a pulse
contaminated_peer.py  SiNC and Contrast-Phys on such folders
filtered.py           classical methods, filtered by verification
evaluation.py         predictions in all windows of the domains
epoch_cost.py         time and memory of one epoch
sample.py             a few small trials, to compare two versions of the code
"""
