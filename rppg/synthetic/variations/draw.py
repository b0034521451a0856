"""Subjects with options: the domain's own, changed in what the options say and in nothing else."""

from rppg.synthetic.domains import Domain
from rppg.synthetic.subjects import SyntheticSubject, draw_subject
from rppg.synthetic.variations.beside import BESIDE_DRAWS
from rppg.synthetic.variations.heart import with_amplitude, with_heart
from rppg.synthetic.variations.variation import Variation


def draw_varied(
    domain: Domain, number: int, duration_s: float, variation: Variation
) -> SyntheticSubject:
    """Draw subject `number` of a domain with options; the same arguments give the same bits."""
    subject = draw_subject(domain, number, duration_s)
    if variation.amplitude:
        subject = with_amplitude(subject, variation.amplitude)
    if variation.hr_bpm or variation.rhythm:
        subject = with_heart(subject, variation.hr_bpm, variation.rhythm)
    if variation.beside:
        subject = BESIDE_DRAWS[variation.beside](subject)
    return subject
