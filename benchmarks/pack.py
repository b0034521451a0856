"""Finished trials packed into the committed files: `python -m benchmarks.pack`.

Moves the single files in `runs/benchmarks` (`--trials`) into `docs/results/trials.jsonl` and
`epoch_costs.jsonl`, and those of each study in `docs/results/studies` into its `trials.jsonl`: one
result per line, in a fixed order, with all numbers as they were computed.

After a change of the code that changes no result, `--rekey` keeps the stored trials: each one's key
and code digest are computed anew. It needs the stamp of `benchmarks.same_results`. `--drop` removes
what is of older code from the committed files.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.same_results import of_studies, read_stamp
from benchmarks.study.from_study import KEPT
from benchmarks.study.kept_trials import added_and_kept, pack_study, rekey_study
from benchmarks.trials.key import CODE_DIGESTS, key
from benchmarks.trials.store import NEW, Result, Store, cost_store, packed_results, trial_store
from benchmarks.trials.trial_settings import PEERS, Trial, peer_config, train_config
from rppg import atomic


def main() -> None:
    """Pack or re-key, and print what was done."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pack", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--trials", type=Path, default=NEW, help="folder of the single files")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--rekey", action="store_true", help="keep trials of older, equal code")
    choice.add_argument("--drop", action="store_true", help="remove trials of older code")
    options = parser.parse_args()
    same_as = read_stamp() if options.rekey else []
    for store in (trial_store(options.trials), cost_store(KEPT / "convergence")):
        print(rekey(store, same_as) if options.rekey else pack(store, drop=options.drop))
    for folder in sorted(KEPT.iterdir()):
        if options.rekey:
            print(rekey_study(folder, of_studies(same_as)))
        else:
            print(pack_study(folder, drop=options.drop))


def pack(store: Store, *, drop: bool = False) -> str:
    """Move a store's single files into its committed file; return what was done.

    A single file replaces the result with the same key, by whichever code it was computed.

    Args:
        drop: whether results of older code are removed.
    """
    results = dict(packed_results(store.packed))
    files = sorted(store.folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path))
    for file in files:
        result = json.loads(file.read_text(encoding="utf-8"))
        results[result["key"]] = result
    kept = [r for r in results.values() if not drop or r["code"] == CODE_DIGESTS[kind_of(r)]]
    if files or len(kept) < len(results):
        write_packed(store.packed, kept)
    for file in files:
        file.unlink()
    return added_and_kept(store.packed, len(files), len(kept), len(results))


def rekey(store: Store, same_as: Iterable[Mapping[str, str]]) -> str:
    """Give the results of older code this code's keys; return what was done.

    Args:
        same_as: code digests, by kind, of trees whose results are equal to this code's.
    """
    changed, other = 0, 0
    results = list(packed_results(store.packed).values())
    for result in results:
        kind = kind_of(result)
        old = {code[kind] for code in same_as if kind in code}
        if result["code"] in old and same_settings(result):
            identity = {"key": key_of(result), "code": CODE_DIGESTS[kind]}
            changed += {**result, **identity} != result
            result.update(identity)
        else:
            other += result["code"] != CODE_DIGESTS[kind]
    write_packed(store.packed, results)
    return f"{store.packed}: {changed} results re-keyed, {other} of other code left"


def kind_of(result: Result) -> str:
    """Return which code a result depends on, a key of `CODE`."""
    return Trial.from_json(result["trial"]).kind if "trial" in result else "epoch_cost"


def key_of(result: Result) -> str:
    """Return a result's key under this code, from its description."""
    return key(Trial.from_json(result["trial"])) if "trial" in result else result["key"]


def same_settings(result: Result) -> bool:
    """Return whether this code would train with the settings that were stored.

    Settings that only one of the two knows are renamed, new or removed: the sample covers them.
    """
    if "trial" not in result or "config" not in result:
        return True
    trial = Trial.from_json(result["trial"])
    config = peer_config(trial) if trial.method in PEERS else train_config(trial)
    return _agree(result["config"], config.model_dump(mode="json"))


def _agree(stored: Any, present: Any) -> bool:
    if isinstance(stored, dict) and isinstance(present, dict):
        return all(_agree(stored[name], present[name]) for name in stored.keys() & present.keys())
    return bool(stored == present)


def write_packed(path: Path, results: Iterable[Result]) -> None:
    """Write a committed file: a result per line, ordered by method, source, seed and levels."""
    lines = [json.dumps(result) for result in sorted(results, key=_order)]
    atomic.write_text(path, "".join(line + "\n" for line in lines))


def _order(result: Result) -> tuple[Any, ...]:
    trial = result.get("trial")
    if trial is None:
        return (result["key"],)
    return (trial["method"], trial["source"], trial["seed"], trial["levels"], result["key"])


if __name__ == "__main__":
    main()
