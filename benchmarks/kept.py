"""Results by domain that are kept as they come, so that an interrupted run goes on."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rppg.atomic import atomic_path
from rppg.synthetic.domains import DOMAINS, Domain


def measure_domains(
    path: Path,
    settings: Mapping[str, Any],
    measure: Callable[[Domain], Any],
    *,
    again: bool,
    tell: Callable[[Domain, Any], None],
) -> None:
    """Measure each domain, tell and write what was found.

    What stands in the file, found with the same settings on the same version of a domain, is told
    but not measured again.

    Args:
        path: `{"settings": ..., "domains": {"webcam@1": ...}}` as JSON.
        measure: JSON values for a domain.
        again: measure all anew.
    """
    known = {} if again else _known(path, settings)
    results: dict[str, Any] = {}
    for domain in DOMAINS.values():
        results[domain.key] = known.get(domain.key) or measure(domain)
        tell(domain, results[domain.key])
        unseen = {key: row for key, row in known.items() if key not in results}
        with atomic_path(path) as temporary:
            text = json.dumps({"settings": settings, "domains": results | unseen}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")


def _known(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return dict(found.get("domains", {})) if found["settings"] == settings else {}
