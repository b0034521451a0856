"""Random generators of options: one per subject and option."""

import hashlib

import numpy as np

from rppg.synthetic.domains import Domain
from rppg.synthetic.subjects import SyntheticSubject
from rppg.synthetic.variations.variation import VERSION


def generator(domain: Domain, number: int, option: str) -> np.random.Generator:
    """Return the generator of what `option` draws for subject `number` of a domain."""
    text = f"{domain.key}/{number}/{option}@{VERSION}"
    entropy = hashlib.sha256(text.encode()).digest()
    return np.random.default_rng(np.frombuffer(entropy, dtype=np.uint32))


def subject_generator(subject: SyntheticSubject, option: str) -> np.random.Generator:
    """Return the generator of what `option` draws for a subject that is drawn."""
    return generator(subject.profile.domain, subject.profile.number, option)
