"""Unsupervised peers of FCUS-rPPG: PhysNet, trained as SiNC and as Contrast-Phys publish it."""
