"""Which process works on which trial, where several share a folder, on one machine or many.

A claim is a file, `KEY.N`, that its process creates exclusively (which also holds on network file
systems), and whose time it renews while it works. A claim is dead if its process has ended, as far
as this machine can tell, or hasn't renewed it for `DEAD_AFTER_S`. A trial whose last claim is dead
is taken over by a claim with the next number. Nothing is replaced, so that of several processes
exactly one creates it. A process that was only asleep and works on does no harm: the results are
the same, and each file is written whole.
"""

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rppg.errors import WriteError

RENEW_S = 20.0
DEAD_AFTER_S = 300.0


@contextmanager
def claim(folder: Path, key: str) -> Iterator[bool]:
    """Claim a trial for the block; yield whether it is this process's.

    Raises:
        WriteError: the folder can't be written to.
    """
    path = _create(folder, key)
    if path is None:
        yield False
        return
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(path, ended), daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        _remove(folder, key, int(path.suffix[1:]))  # also those of the dead before it


def forget_dead(folder: Path, key: str) -> None:
    """Remove the claims on a finished trial, if the last one is of a process that was killed."""
    claims = _claims(folder, key)
    if claims and _is_dead(claims[-1][1]):
        _remove(folder, key, claims[-1][0])


def owner(folder: Path, key: str) -> str:
    """Return who works on a trial, in words; empty if nobody does."""
    claims = _claims(folder, key)
    if not claims or _is_dead(claims[-1][1]):
        return ""
    about = _read(claims[-1][1])
    return f"process {about.get('pid', '?')} on {about.get('host', '?')}"


def machine() -> str:
    """Return what identifies this machine, as long as it runs, and its numbers of processes."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # Linux; elsewhere the name has to do
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


def _create(folder: Path, key: str) -> Path | None:
    """Return the new claim; None if another process has a living one."""
    claims = _claims(folder, key)
    if claims and not _is_dead(claims[-1][1]):
        return None
    path = folder / f"{key}.{claims[-1][0] + 1 if claims else 0}"
    about = {"pid": os.getpid(), "host": platform.node(), "machine": machine()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(about) + "\n")
    except FileExistsError:  # another process was faster
        return None
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from error
    return path


def _remove(folder: Path, key: str, last: int) -> None:
    """Remove a trial's claims up to a number."""
    for number, path in _claims(folder, key):
        if number <= last:
            path.unlink(missing_ok=True)


def _claims(folder: Path, key: str) -> list[tuple[int, Path]]:
    """Return the claims of a trial by their numbers, the valid one last."""
    found = [(path.suffix[1:], path) for path in folder.glob(f"{key}.*")]
    return sorted((int(number), path) for number, path in found if number.isdecimal())


def _is_dead(path: Path) -> bool:
    try:
        age_s = _now_s(path.parent) - path.stat().st_mtime
    except FileNotFoundError:  # it has just ended
        return True
    about = _read(path)
    here = os.name == "posix" and about.get("machine") == machine()
    if here and isinstance(pid := about.get("pid"), int):
        try:
            os.kill(pid, 0)  # no signal: asks whether there is such a process
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    return age_s > DEAD_AFTER_S


def _read(path: Path) -> dict[str, object]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it has just ended, or is just being written
        return {}
    return about if isinstance(about, dict) else {}


def _now_s(folder: Path) -> float:
    """Return the time by the clock that stamps files in a folder, which may be a server's."""
    path = folder / f".now-{os.getpid()}-{threading.get_ident()}"
    try:
        path.touch()
        return path.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        path.unlink(missing_ok=True)


def _renew(path: Path, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with contextlib.suppress(OSError):
            os.utime(path)
