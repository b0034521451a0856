"""The trials of studies that are kept in git: packed, and re-keyed after changes of the code."""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from rppg import atomic
from rppg.peers.config import PUBLISHED, PeerConfig
from rppg.study.config import EvaluationConfig
from rppg.study.key import CODE_DIGESTS, digest, test_key
from rppg.study.store import PACKED, Result
from rppg.train.config import TrainConfig

Code = Mapping[str, str]


def pack_study(folder: Path, *, drop: bool = False) -> str:
    """Move a study's single files into its committed file; return what was done.

    Failures that another try may not have stay where they are. Of a trial that is there already,
    the tests are put together.

    Args:
        drop: whether trials of older code, or with a test by older code, are removed.
    """
    packed = folder / PACKED
    results = {result["key"]: result for result in read_packed(packed)}
    done: list[Path] = []
    for file in sorted((folder / "trials").glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        outcomes = (result, *result["tests"].values())
        if any(outcome.get("failed", {}).get("again") for outcome in outcomes):
            continue
        before = results.get(result["key"], {"tests": {}})
        results[result["key"]] = {**result, "tests": {**before["tests"], **result["tests"]}}
        done.append(file)
    kept = [result for result in results.values() if not drop or _is_present(result)]
    if done or len(kept) < len(results):
        write_packed(packed, kept)
    for file in done:
        file.unlink()
    return added_and_kept(packed, len(done), len(kept), len(results))


def added_and_kept(packed: Path, added: int, kept: int, found: int) -> str:
    """Return what packing has done, as text."""
    removed = f", {found - kept} of older code removed" if kept < found else ""
    return f"{packed}: {added} results added{removed}, {kept} in all"


def rekey_study(folder: Path, same_as: Collection[Code]) -> str:
    """Give the packed results of older code this code's keys; return what was done.

    Args:
        same_as: digests of `rppg.study.key`, by kind, of trees whose results are equal to this
            code's.
    """
    packed = folder / PACKED
    results = read_packed(packed)
    renewed = [renew(result, same_as) for result in results]
    changed = sum(new != old for new, old in zip(renewed, results, strict=True))
    other = sum(not _is_present(result) for result in renewed)
    if changed:
        write_packed(packed, renewed)
    return f"{packed}: {changed} results re-keyed, {other} of other code left"


def renew(result: Result, same_as: Collection[Code]) -> Result:
    """Return a result with the keys of this code, where its code gave the same results."""
    if not _is_same(result["identity"]["code"], same_as):
        return result
    identity = _renewed(result["identity"], same_as)
    if "config" in identity:  # with the fields that this code has added, at their defaults
        config = PeerConfig if identity["method"] in PUBLISHED else TrainConfig
        full = config.model_validate(identity["config"])
        identity["config"] = full.model_dump(mode="json", exclude={"data", "subjects"})
    key, tests = digest(identity), {}
    for test in result["tests"].values():
        of_test = _renewed(test["identity"], same_as)
        tests[test_key(key, of_test)] = {**test, "identity": of_test}
    return {**result, "key": key, "identity": identity, "tests": tests}


def read_packed(path: Path) -> list[Result]:
    """Return the results in a committed file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_packed(path: Path, results: Iterable[Result]) -> None:
    """Write a committed file: a result per line, in a fixed order."""
    lines = [json.dumps(result) + "\n" for result in sorted(results, key=_order)]
    atomic.write_text(path, "".join(lines))


def _renewed(identity: Mapping[str, Any], same_as: Collection[Code]) -> dict[str, Any]:
    """Return an identity with this code's digests, and all fields of the evaluation."""
    new, code = dict(identity), identity["code"]
    if _is_same(code, same_as):
        new["code"] = {kind: CODE_DIGESTS[kind] for kind in code}
    if "protocol" in identity:
        protocol = EvaluationConfig.model_validate(identity["protocol"])
        new["protocol"] = protocol.model_dump(mode="json")
    return new


def _is_same(code: Code, same_as: Collection[Code]) -> bool:
    """Return whether all of a result's code is this tree's, or an older one's that is equal."""
    return any(
        all(digest in (tree.get(kind), CODE_DIGESTS[kind]) for kind, digest in code.items())
        for tree in (CODE_DIGESTS, *same_as)
    )


def _is_present(result: Result) -> bool:
    tests = [test["identity"]["code"] for test in result["tests"].values()]
    return all(_is_same(code, ()) for code in (result["identity"]["code"], *tests))


def _order(result: Result) -> tuple[Any, ...]:
    trial = result["trial"]
    training = [part["dataset"] for part in trial["training"]]
    tests = [part["dataset"] for part in trial["tests"]]
    return (trial["method"], training, tests, trial["seed"], trial["levels"] or [], result["key"])
