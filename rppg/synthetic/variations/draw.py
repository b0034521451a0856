"""Subjects with options: the domain's own, changed in what the options say and in nothing else."""

from dataclasses import replace

from rppg.synthetic.domains import Domain
from rppg.synthetic.subjects import SyntheticSubject, draw_subject
from rppg.synthetic.variations.beside import BESIDE_DRAWS
from rppg.synthetic.variations.generator import generator
from rppg.synthetic.variations.heart import with_amplitude, with_heart
from rppg.synthetic.variations.kinds import KINDS
from rppg.synthetic.variations.screens import replay
from rppg.synthetic.variations.variation import Variation

LIVING = "living"


def draw_kind(domain: Domain, number: int, variation: Variation) -> str:
    """Draw the kind of subject `number`'s recording: `living`, or one without a pulse.

    The draw doesn't depend on the share of dead subjects, so that those of a small share are
    among those of a large one.
    """
    if generator(domain, number, "dead").random() >= variation.dead:
        return LIVING
    kinds = variation.kinds
    return kinds[generator(domain, number, "kind").integers(len(kinds))]


def describe_recording(domain: Domain, number: int, variation: Variation) -> str:
    """Return the options that subject `number`'s recording depends on; empty if on none.

    A living subject is the same at each share of dead ones, so that it needs to be rendered once.
    """
    kind = draw_kind(domain, number, variation)
    return f"kind={kind}" if kind != LIVING else replace(variation, dead=0.0).text


def draw_varied(
    domain: Domain, number: int, duration_s: float, variation: Variation
) -> SyntheticSubject:
    """Draw subject `number` of a domain with options; the same arguments give the same bits."""
    subject = draw_subject(domain, number, duration_s)
    kind = draw_kind(domain, number, variation)
    if kind != LIVING:
        return KINDS[kind](subject)
    if variation.amplitude:
        subject = with_amplitude(subject, variation.amplitude)
    if variation.hr_bpm or variation.rhythm:
        subject = with_heart(subject, variation.hr_bpm, variation.rhythm)
    if variation.beside:
        subject = BESIDE_DRAWS[variation.beside](subject)
    return replay(subject) if variation.replay else subject
