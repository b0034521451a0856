"""All synthetic domains by name: the five that mirror public datasets, and the filmed ones."""

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from rppg.synthetic.domains import DOMAINS, Domain
from rppg.synthetic.filmed.domains import FILMED_DOMAINS

_maps: tuple[dict[str, Any], ...] = (FILMED_DOMAINS, DOMAINS)  # iterated from the last
ALL_DOMAINS: Mapping[str, Domain] = ChainMap(*_maps)
"""What a name can mean. Studies and tables iterate over `DOMAINS`, so that a new domain changes
none of them."""
