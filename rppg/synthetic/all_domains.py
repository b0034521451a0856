"""All synthetic domains by name: the five that mirror public datasets, and the filmed ones."""

from rppg.synthetic.domains import DOMAINS, Domain
from rppg.synthetic.filmed.domains import FILMED_DOMAINS

ALL_DOMAINS: dict[str, Domain] = {**DOMAINS, **FILMED_DOMAINS}
"""What a name can mean. Studies and tables iterate over `DOMAINS`, so that a new domain changes
none of them."""
