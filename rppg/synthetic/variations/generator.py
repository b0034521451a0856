"""Random generators of options: one per subject and option."""

import hashlib

import numpy as np

from rppg.synthetic.subjects import Profile
from rppg.synthetic.variations.variation import VERSION


def generator(profile: Profile, option: str) -> np.random.Generator:
    """Return the generator of what `option` draws for a subject."""
    text = f"{profile.domain.key}/{profile.number}/{option}@{VERSION}"
    entropy = hashlib.sha256(text.encode()).digest()
    return np.random.default_rng(np.frombuffer(entropy, dtype=np.uint32))
