"""`rppg datasets`."""

from rppg.commands.terminal import print_line


def datasets() -> None:
    """List the datasets that a SPEC can name."""
    from rppg.data.datasets import DATASETS
    from rppg.synthetic.all_domains import ALL_DOMAINS
    from rppg.synthetic.filmed.domains import FilmedDomain
    from rppg.synthetic.variations.variation import OPTION_KEYS

    for domain in ALL_DOMAINS.values():
        cameras = f"{len(domain.cameras)} camera{'s' if len(domain.cameras) > 1 else ''}"
        rates = domain.filming.rates_hz if isinstance(domain, FilmedDomain) else (domain.fps,)
        print_line(
            f"synthetic:{domain.name}  {domain.key}, mirrors {domain.mirrors}: "
            f"{cameras}, {', '.join(f'{hz:g}' for hz in rates)} Hz, "
            f"{domain.hr_bpm[0]:g}–{domain.hr_bpm[1]:g} bpm; MIT",
        )
    print_line(
        "synthetic:DOMAIN?OPTION=VALUE&OPTION=VALUE  the domain's people, changed. Options: "
        f"{', '.join(OPTION_KEYS)}"
    )
    for name, dataset in DATASETS.items():
        filters = f"; filters: {', '.join(dataset.filters)}" if dataset.filters else ""
        note = f"; {dataset.note}" if dataset.note else ""
        print_line(f"{name}:PATH  {dataset.title}: {dataset.layout}{filters}{note}")
    print_line("FOLDER or VIDEO  videos without ground truth, for training")
    print_line(
        "NAME:PATH?KEY=VALUE,VALUE&KEY=VALUE  only recordings with these values. Keys: the filters "
        "above; split=train, validation or test, by subject; face=detect, full, or x,y,w,h"
    )
    print_line(
        "NAME:PATH?subject=1,2  people and recordings: subject=NAME, NUMBER, FROM-TO, first:N or "
        "last:N; recording=NAME; exclude=NAME of a recording; fold=I/N by subject, and "
        "fold=not:I/N for the others"
    )
