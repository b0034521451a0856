"""Redesigns of smoothing and projection, screened on short trainings.

arms.py            the redesigns and their controls
dead_gradients.py  a wrapper that keeps updates out of the span of given gradients
training.py        one training of an arm, whatever the method
fcus.py            FCUS-rPPG: what to train, and the gradients of dead clips
peer.py            Contrast-Phys, likewise
evaluation.py      SNR and error on validation subjects
"""
