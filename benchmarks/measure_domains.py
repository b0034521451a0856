"""Results by domain, written one by one, so that an interrupted program continues."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import arguments, saved_part, write_json
from rppg.synthetic.all_domains import ALL_DOMAINS
from rppg.synthetic.domains import DOMAINS, Domain


def domain_arguments(doc: str, name: str, *, subjects: int) -> argparse.ArgumentParser:
    """Return `arguments` with the options of a program that measures domain by domain.

    Args:
        subjects: the default of `--subjects`.
    """
    parser = arguments(doc, name)
    parser.add_argument("--subjects", type=int, default=subjects, help="in each domain")
    parser.add_argument("--again", action="store_true", help="measure all domains again")
    return parser


def all_domain_arguments(doc: str, name: str, *, subjects: int) -> argparse.ArgumentParser:
    """Return `domain_arguments` of a program for all eight domains, or those that are named."""
    parser = domain_arguments(doc, name, subjects=subjects)
    parser.add_argument("--domains", nargs="+", choices=tuple(ALL_DOMAINS), metavar="DOMAIN")
    return parser


def tested_arguments(doc: str, name: str, *, subjects: int) -> argparse.ArgumentParser:
    """Return `all_domain_arguments` of a program that tests."""
    parser = all_domain_arguments(doc, name, subjects=subjects)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    return parser


def chosen_domains(options: argparse.Namespace) -> list[Domain]:
    """Return the domains that the options of `all_domain_arguments` name; all by default."""
    return [ALL_DOMAINS[name] for name in options.domains or ALL_DOMAINS]


def measure_domains(
    path: Path,
    settings: Mapping[str, Any],
    measure: Callable[[Domain], Any],
    *,
    again: bool,
    report: Callable[[Domain, Any], None],
    domains: Iterable[Domain] = tuple(DOMAINS.values()),
) -> None:
    """Measure each domain, report the result and write it.

    A result in the file, with the same settings and the same version of the domain, is reported
    but not measured again.

    Args:
        path: `{"settings": ..., "domains": {"webcam@1": ...}}` as JSON.
        measure: from a domain to JSON values.
        again: measure all domains again.
        domains: by default the five that mirror public datasets.
    """
    saved = {} if again else saved_part(path, "domains", settings)
    results: dict[str, Any] = {}
    for domain in domains:
        results[domain.key] = saved.get(domain.key) or measure(domain)
        report(domain, results[domain.key])
        write_json(path, {"settings": settings, "domains": saved | results})
