"""Hostile files, through the commands: no code is run, nothing is written but the output.

Each variant is a command on a folder with a checkpoint, a configuration, a cache or a dataset that
someone prepared. It ends with exit code 2 and one line that names the file, or, where the meaning
is whole, with the result of the file as it was. Pickles among them would make a folder, the canary.
Before and after, all files of a sandbox around the variant are compared by content.

Damage to the bytes of videos and ground truth is in `rppg/data/test_fuzz.py`; of every byte of
stored crops in `rppg/crops/test_cache.py`.
"""

import ast
import hashlib
import io
import json
import os
import pickle
import resource
import runpy
import shutil
import signal
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

import rppg
from rppg.crops import crop_file
from rppg.models.checkpoint import SHIPPED
from rppg.video import write_video

run = runpy.run_path(str(Path(__file__).parent / "rppg" / "data" / "fuzz_program.py"))["run"]
"""`run(arguments)`: exit code, stdout and stderr of a command, in this process."""

QUICK = {"checkpoint": 19, "configuration": 25, "cache": 17, "manifest": 25}
"""By default one variant in so many is run; all by the slow test."""
VARIANT_S, HANG_S = 20, 600
"""What a variant may take: time of a processor, and time. A machine under load is slow."""
MORE_LINES = 3
"""A command may name each recording that it leaves out, before it says why it ends."""
OUTPUTS = ("checkpoint.safetensors", "checkpoint.json", "report.html", "metrics.json", "scores.csv")
MEMORY = 4 << 30
"""What a variant may take on top of what the tests have taken."""

Rng = np.random.Generator
Make = Callable[[Path], None]


@dataclass(frozen=True)
class Variant:
    """A mutation of a folder that holds whole inputs.

    Attributes:
        make: changes the folder.
        named: what the line must name, where it is refused.
        ends: `refused`; `same`: the result of the whole input; `either` of these; or `any`: the
            mutation is another honest input, with a result of its own.
    """

    name: str
    make: Make
    named: str
    ends: str = "refused"


# --- what is hostile ---------------------------------------------------------------------------


class Bomb:
    """Unpickled, it makes the folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.canary),)


def pickles(canary: Path) -> dict[str, bytes]:
    """A bomb in each of the wrappings in which libraries look for pickles."""
    bomb = Bomb(canary)
    found = {f"protocol {n}": pickle.dumps(bomb, protocol=n) for n in (0, 2, 5)}
    for name, zipped in (("torch", True), ("old torch", False)):
        file = io.BytesIO()
        torch.save({"w": bomb}, file, _use_new_zipfile_serialization=zipped)
        found[name] = file.getvalue()
    file = io.BytesIO()
    np.save(file, np.array([bomb], dtype=object), allow_pickle=True)
    found["npy"] = file.getvalue()
    file = io.BytesIO()
    np.savez(file, frames=np.array([bomb], dtype=object), times_s=np.array([bomb], dtype=object))
    found["npz"] = file.getvalue()
    return found


def texts(canary: Path) -> dict[str, str]:
    """Words that mean something to a shell, a terminal, Python, rich or a file system."""
    return {
        "up": "../../../escape",
        "absolute": "/etc/passwd",
        "home": "~/escape",
        "shell": f"$(mkdir {canary})`mkdir {canary}`;mkdir {canary}|mkdir {canary}",
        "python": f"__import__('os').mkdir({str(canary)!r})",
        "yaml": f"!!python/object/apply:os.mkdir [{canary}]",
        "format": "%s%n{0.__class__}{}",
        "markup": "[bold red]a[/][link=file:///etc/passwd]b[/link] :smile:",
        "empty": "",
        "letters": "é中\u202e",
    }


NUMBERS: Mapping[str, str] = {
    "negative": "-1",
    "zero": "0",
    "huge": "1" + 30 * "0",
    "more digits than Python reads": "9" * 5000,
    "64 bits": "9223372036854775808",
    "large": "1e308",
    "too large": "1e999",
    "tiny": "1e-300",
}  # fmt: skip


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(len(data))]


def flip(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(min(len(data), 3000), size=rng.integers(1, 20)):
        changed[at] ^= int(rng.integers(1, 256))
    return bytes(changed)


def insert(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + rng.bytes(int(rng.integers(1, 50))) + data[at:]


def noise(data: bytes, rng: Rng) -> bytes:
    return rng.bytes(int(rng.integers(1, 3000)))


DAMAGES = (cut, flip, insert, noise)
ODD: Mapping[str, bytes] = {
    "nothing": b"", "zeros": bytes(5000), "NUL": b"\0", "BOM": b"\xff\xfe{\0", "words": b"hello\n",
    "zip": b"PK\x05\x06" + bytes(18), "elf": b"\x7fELF" + bytes(100),
    "script": b"#!/bin/sh\nmkdir canary\n", "deep": b"[" * 200_000,
    "deep object": b'{"a":' * 99_999,
}  # fmt: skip


def bytes_of(file: str, canary: Path) -> Iterator[tuple[str, bytes]]:
    """Contents that are none of ours."""
    yield from ((f"{file} is {name}", data) for name, data in ODD.items())
    yield from ((f"{file} is a pickle, {name}", data) for name, data in pickles(canary).items())


def put(file: str, data: bytes) -> Make:
    return lambda folder: (folder / file).write_bytes(data) and None


def change(file: str, damage: Callable[[bytes, Rng], bytes], seed: list[int]) -> Make:
    def make(folder: Path) -> None:
        path = folder / file
        path.write_bytes(damage(path.read_bytes(), np.random.default_rng(seed)))

    return make


def replace_by(file: str, kind: str, sandbox: Path) -> Make:
    """A folder, a link out, a link to itself, a pipe, or a device instead of a file."""

    def make(folder: Path) -> None:
        path = folder / file
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            targets = {"secret": sandbox / "secret.txt", "itself": path.name,
                       "endless": "/dev/zero", "nowhere": "nowhere"}  # fmt: skip
            path.symlink_to(targets[kind])

    return make


KINDS = ("folder", "pipe", "secret", "itself", "endless", "nowhere")


# --- checkpoints ---------------------------------------------------------------------------------

NET, ABOUT = "net.safetensors", "net.json"


def edit(change: Callable[[dict[str, Any]], object], *, sealed: bool = True) -> Make:
    """Change the description of a checkpoint."""

    def make(folder: Path) -> None:
        about = json.loads((folder / ABOUT).read_text())
        change(about)
        (folder / ABOUT).write_text(json.dumps(about))

    return make


def set_at(path: str, raw: str) -> Make:
    """Put JSON text instead of a field of the description."""

    def make(folder: Path) -> None:
        about = json.loads((folder / ABOUT).read_text())
        *parents, last = path.split(".")
        inner = about
        for key in parents:
            inner = inner[key]
        inner[last] = "HERE"
        (folder / ABOUT).write_text(json.dumps(about).replace('"HERE"', raw))

    return make


def resealed(make: Make) -> Make:
    """The description vouches for the weights as they are now."""

    def both(folder: Path) -> None:
        make(folder)
        about = json.loads((folder / ABOUT).read_text())
        about["weights"] = hashlib.sha256((folder / NET).read_bytes()).hexdigest()
        (folder / ABOUT).write_text(json.dumps(about))

    return both


def header(change: Callable[[dict[str, Any]], object]) -> Make:
    """Change the header of the weights, the rest of the file as it was."""

    def make(folder: Path) -> None:
        data = (folder / NET).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        reported = json.loads(data[8 : 8 + length])
        reported = change(reported) or reported
        text = json.dumps(reported).encode()
        (folder / NET).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return resealed(make)


def tensor(change: Callable[[dict[str, Any]], object]) -> Make:
    """Change what the header says of its first tensor."""
    return header(lambda reported: change(reported[min(set(reported) - {"__metadata__"})]) and None)


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Make:
    def make(folder: Path) -> None:
        found = load_file(folder / NET)
        change(found)
        save_file(found, folder / NET)

    return resealed(make)


def checkpoint_variants(sandbox: Path) -> Iterator[Variant]:
    canary = sandbox / "canary"
    for file in (NET, ABOUT):
        for name, data in bytes_of(file, canary):
            yield Variant(name, put(file, data), "net.")
        for kind in KINDS:
            yield Variant(f"{file} is {kind}", replace_by(file, kind, sandbox), "net.")
        for k in range(12):
            damage = change(file, DAMAGES[k % 4], [1, k])
            yield Variant(f"{file} {DAMAGES[k % 4].__name__} {k}", damage, "net.", "either")
    for name, data in bytes_of(NET, canary):
        yield Variant(f"vouched {name}", resealed(put(NET, data)), NET)
    for k in range(24):
        damage = resealed(change(NET, DAMAGES[k % 4], [2, k]))
        yield Variant(f"vouched {DAMAGES[k % 4].__name__} {k}", damage, NET, "any")
    for length in (0, 1, 2**31, 2**63, 2**64 - 1):
        make = put(NET, struct.pack("<Q", length) + b'{"a":1}')
        yield Variant(f"header of {length} bytes", resealed(make), NET)
    claims: dict[str, Callable[[dict[str, Any]], object]] = {
        "shape huge": lambda t: t.update(shape=[10**18]),
        "shape overflows": lambda t: t.update(shape=[2**32, 2**32, 2**32]),
        "shape negative": lambda t: t.update(shape=[-1]),
        "shape text": lambda t: t.update(shape="../../etc/passwd"),
        "shape none": lambda t: t.pop("shape"),
        "offsets huge": lambda t: t.update(data_offsets=[0, 10**15]),
        "offsets back": lambda t: t.update(data_offsets=[10, 0]),
        "offsets negative": lambda t: t.update(data_offsets=[-8, 0]),
        "offsets none": lambda t: t.pop("data_offsets"),
        "type unknown": lambda t: t.update(dtype="PICKLE"),
        "type object": lambda t: t.update(dtype="O"),
        "type wider": lambda t: t.update(dtype="F64"),
        "type as code": lambda t: t.update(dtype=f"os.mkdir({str(canary)!r})"),
    }
    for name, claim in claims.items():
        yield Variant(f"tensor {name}", tensor(claim), NET)
    for name, text in texts(canary).items():
        rename = header(
            lambda reported, text=text: reported.update({text: reported.pop(min(reported))})
        )
        yield Variant(f"tensor called {name}", rename, NET)
        of = set_at("network", json.dumps(text))
        yield Variant(f"network called {name}", of, ABOUT)
        made = set_at("provenance", json.dumps({text: text, "config": {text: text}}))
        yield Variant(f"made by {name}", made, ABOUT, "any")  # a free text; of a clip as by default
        meta = header(lambda reported, text=text: reported.update(__metadata__={text: text}))
        yield Variant(f"metadata of {name}", meta, NET, "same")
    yield Variant("metadata of numbers", header(lambda t: t.update(__metadata__={"a": 1})), NET)
    turned = header(lambda reported: dict(reversed(reported.items())))
    yield Variant("header in another order", turned, NET, "same")
    yield Variant("one tensor more", weights(lambda w: w.update(more=torch.zeros(3))), NET)
    yield Variant("one tensor less", weights(lambda w: w.pop(min(w))), NET)
    for value in (float("nan"), float("inf"), -float("inf")):
        bad = weights(lambda w, value=value: w[min(w)].fill_(value))
        yield Variant(f"weights {value}", bad, NET)
    extreme = weights(lambda w: [v.fill_(3e38) for v in w.values()])
    yield Variant("weights enormous", extreme, NET, "any")
    doubled = weights(lambda w: w.update({k: v.double() for k, v in w.items()}))
    yield Variant("weights in float64", doubled, NET, "same")
    fields = ("format", "network", "weights", "provenance", "provenance.config",
              "provenance.config.clip_s",
              "model", "model.fps", "model.low_hz", "model.high_hz", "model.grid", "model.regions",
              "model.window_s", "model.width", "model.signatures")  # fmt: skip
    values = {**NUMBERS, "NaN": "NaN", "Infinity": "Infinity", "null": "null", "list": "[]",
              "object": '{"__class__": "os.system"}', "text": '"../../x"',
              "deep": "[" * 20_000}  # fmt: skip
    for field in fields:
        for name, raw in values.items():
            told_twice = name in ("null", "object") and field in ("provenance", "provenance.config")
            ends = "any" if field.startswith(("provenance", "model")) or told_twice else "refused"
            yield Variant(f"{field} is {name}", set_at(field, raw), "net.", ends)
    yield Variant("signatures ragged", set_at("model.signatures", "[[1,2,3],[1]]"), ABOUT)
    yield Variant("signatures of none", set_at("model.signatures", "[[],[]]"), "film.mp4")
    yield Variant("unknown field", edit(lambda a: a["model"].update(code="x")), ABOUT)
    yield Variant("a field twice", lambda f: twice(f / ABOUT), ABOUT, "same")
    yield Variant("spaces", lambda f: spaced(f / ABOUT), ABOUT, "same")
    yield Variant("a field more", edit(lambda a: a.update(more="x")), ABOUT, "same")


def twice(path: Path) -> None:
    path.write_text(path.read_text().replace("{", '{"format": 99,', 1))


def spaced(path: Path) -> None:
    path.write_text("\n\n" + path.read_text().replace(",", " ,\r\n\t") + "\n" * 50)


def predicted(folder: Path, sandbox: Path) -> list[str]:
    return ["predict", str(sandbox / "film.mp4"), "--full-frame", "--json", "--checkpoint",
            str(folder / NET)]  # fmt: skip


def prediction(folder: Path, out: str) -> object:
    (found,) = json.loads(out)["videos"]
    return {key: found[key] for key in ("hr_bpm", "quality", "windows", "frames")}


def whole_checkpoint(folder: Path) -> None:
    shutil.copyfile(SHIPPED, folder / NET)
    shutil.copyfile(SHIPPED.with_suffix(".json"), folder / ABOUT)


# --- configurations ------------------------------------------------------------------------------

TOML = "a.toml"
SMALL = "epochs = 1\nseed = 3\nbatch_size = 2\nclip_s = 5.0\nstride_s = 5.0\nsubjects = 1\n"


def config_variants(sandbox: Path) -> Iterator[Variant]:
    canary = sandbox / "canary"
    films = f'data = ["{sandbox / "films"}?face=full"]\n'
    for name, data in bytes_of(TOML, canary):
        empty = name.endswith("nothing")  # all is as by default, and clips of 10 s too long
        yield Variant(name, put(TOML, data), "" if empty else TOML)
    for kind in ("folder", "secret", "itself", "nowhere"):  # whoever names a pipe has it read
        yield Variant(f"is {kind}", replace_by(TOML, kind, sandbox), TOML)
    for k in range(16):
        damage = change(TOML, DAMAGES[k % 4], [3, k])
        yield Variant(f"{DAMAGES[k % 4].__name__} {k}", damage, "", "any")

    def text(lines: str) -> Make:
        """The fields, and those of the small configuration that they leave out."""
        names = {line.partition("=")[0].strip() for line in lines.splitlines()}
        small = [line for line in SMALL.splitlines() if line.partition(" =")[0] not in names]
        return put(TOML, (films + "\n".join(small) + "\n" + lines).encode())

    fields = ("method", "epochs", "seed", "batch_size", "clip_s", "subjects", "lr", "model.width",
              "model.grid", "mask.threshold", "project.energy")  # fmt: skip
    for name, word in texts(canary).items():
        quoted = json.dumps(word, ensure_ascii=False)
        for field in fields:
            line = f"{field} = {quoted}\n"
            yield Variant(f"{field} is {name}", text(line), TOML if field != "method" else "method")
        yield Variant(f"a field called {name}", text(f"{quoted} = 1\n"), TOML)
        yield Variant(f"data is {name}", put(TOML, f"data = [{quoted}]".encode()), "",
                      "refused")  # fmt: skip
    values = {"NaN": "nan", "inf": "inf", "-inf": "-inf", "list": "[]", "table": "{a = 1}",
              "date": "1979-05-27"}  # fmt: skip
    for field in ("epochs", "batch_size", "clip_s", "stride_s", "lr", "weight_decay",
                  "model.fps", "objective.sparsity", "mask.span_s", "smooth.rho",
                  "project.max_fraction", "project.observe_clips"):  # fmt: skip
        for name, raw in values.items():
            yield Variant(f"{field} is {name}", text(f"{field} = {raw}\n"), TOML)
        for name in ("negative", "too large", "more digits than Python reads"):
            ends = "any" if field in ("objective.sparsity",) else "refused"
            yield Variant(f"{field} is {name}", text(f"{field} = {NUMBERS[name]}\n"), TOML, ends)
    for field in ("epochs", "batch_size", "lr", "mask.span_s"):  # a truth is a number to pydantic
        yield Variant(f"{field} is true", text(f"{field} = true\n"), "", "any")
    more = {"model.fps is absurd": "model.fps = 1e18", "seed negative": "seed = -1",
            "seed huge": f"seed = {NUMBERS['huge']}",
            "a clip for ever": "clip_s = 1e300", "large": "lr = 1e308", "tiny": "lr = 1e-300",
            "deep": "a = " + "[" * 5000, "deep tables": "[" + ".".join("a" * 3000) + "]\n",
            "many": "\n".join(f"a{n} = {n}" for n in range(5000)) + "\n",
            "twice": "epochs = 1\nepochs = 2", "long": f'method = "{"x" * 99_999}"'}  # fmt: skip
    for name, line in more.items():
        ends = "any" if name in ("seed huge", "seed negative", "large", "tiny") else "refused"
        yield Variant(name, text(f"{line}\n"), "method" if name == "long" else "", ends)
    same = {"comments": "# a\n" + SMALL + "# \u00e9\n",
            "order": "\n".join(SMALL.split("\n")[::-1]) + "\n",
            "windows": SMALL.replace("\n", "\r\n"), "method said": SMALL + 'method = "fcus"\n',
            "underlines": SMALL.replace("5.0", "5.0_0")}  # fmt: skip
    for name, lines in same.items():
        yield Variant(f"same, {name}", text(lines), TOML, "same")


def trained(folder: Path, sandbox: Path) -> list[str]:
    """Where the configuration names no data, it would be a camera that takes long to render."""
    path = folder / TOML
    named = path.is_file() and b"data" not in path.read_bytes()
    data = ["--data", f"{sandbox / 'films'}?face=full"] if named else []
    return ["train", "--config", str(path), "--out", str(folder / "out"), *data]


def training(folder: Path, out: str) -> object:
    return hashlib.sha256((folder / "out" / "checkpoint.safetensors").read_bytes()).hexdigest()


# --- the cache -----------------------------------------------------------------------------------


def stored(folder: Path) -> tuple[Path, Path]:
    """The file with the crops of a folder's cache, and the file with what it knows of contents."""
    (crops,) = (folder / "cache").rglob("*.safetensors")
    (memory,) = (folder / "cache" / "crops" / "contents").iterdir()
    return crops, memory


def cache_variants(sandbox: Path) -> Iterator[Variant]:
    canary = sandbox / "canary"

    def to(which: int, make: Make) -> Make:
        def change(folder: Path) -> None:
            path = stored(folder)[which]
            name = (NET, ABOUT)[which]
            path.rename(path.with_name(name))
            make(path.parent)
            path.with_name(name).rename(path)

        return change

    for which, what in enumerate((NET, ABOUT)):
        reported = ("crops", "contents")[which]
        for name, data in bytes_of(reported, canary):
            yield Variant(name, to(which, put(what, data)), "", "same")
        for kind in ("folder", "pipe", "secret", "itself", "endless", "nowhere"):
            yield Variant(f"{reported} is {kind}", to(which, replace_by(what, kind, sandbox)), "",
                          "same" if kind != "folder" else "any")  # fmt: skip
        for k in range(24):
            damage = change(what, DAMAGES[k % 4], [4, which, k])
            yield Variant(
                f"{reported} {DAMAGES[k % 4].__name__} {k}", to(which, damage), "", "same"
            )
    for name, text in texts(canary).items():
        yield Variant(f"contents says {name}", to(1, put(ABOUT, text.encode())), "", "same")
    for name, text in (("zeros", "0" * 64), ("capitals", "A" * 64), ("lines", "a" * 64 + "\n../x")):
        yield Variant(f"contents says {name}", to(1, put(ABOUT, text.encode())), "", "any")
    claims: dict[str, Callable[[dict[str, Any]], object]] = {
        "shape huge": lambda t: t["frames"].update(shape=[10**9, 10**9, 3]),
        "shape other": lambda t: t["frames"].update(shape=t["frames"]["shape"][::-1]),
        "type": lambda t: t["frames"].update(dtype="I8"),
        "offsets": lambda t: t["frames"].update(data_offsets=[0, 10**15]),
        "no frames": lambda t: t.pop("frames"),
        "name": lambda t: t.update({"../../frames": t.pop("frames")}),
        "format": lambda t: t["__metadata__"].update(format="0"),
        "format huge": lambda t: t["__metadata__"].update(format="9" * 5000),
        "key": lambda t: t["__metadata__"].update(key="../../x"),
        "warnings": lambda t: t["__metadata__"].update(warnings="[" * 50_000),
        "digest": lambda t: t["__metadata__"].update(sha256="0"),
        "metadata": lambda t: t.pop("__metadata__"),
    }
    for name, claim in claims.items():

        def claimed(folder: Path, claim: Callable[[dict[str, Any]], object] = claim) -> None:
            path = stored(folder)[0]
            data = path.read_bytes()
            (length,) = struct.unpack("<Q", data[:8])
            reported = json.loads(data[8 : 8 + length])
            claim(reported)
            text = json.dumps(reported).encode()
            path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

        yield Variant(f"crops claim {name}", claimed, "", "same")
    forged: dict[str, Callable[[dict[str, Any]], object]] = {
        "frames of letters": lambda a: a.update(frames=np.frombuffer(b"a" * 80, np.int8)),
        "frames that are flat": lambda a: a.update(frames=a["frames"].reshape(len(a["valid"]), -1)),
        "fewer times": lambda a: a.update(times_s=a["times_s"][:-9].copy()),
        "times of whole numbers": lambda a: a.update(times_s=a["times_s"].astype(np.int64)),
        "no times": lambda a: a.pop("times_s"),
        "deep warnings": lambda a: a.update(warnings="[" * 50_000),
        "other warnings": lambda a: a.update(warnings="3"),
    }
    for name, forge in forged.items():
        yield Variant(f"crops forged with {name}", vouched(forge), "", "same")


def vouched(forge: Callable[[dict[str, Any]], object]) -> Make:
    """Other crops in a file whose digest is right."""

    def make(folder: Path) -> None:
        path = stored(folder)[0]
        found: dict[str, Any] = dict(load_arrays(path))
        found["warnings"] = "[]"
        forge(found)
        about = {"format": crop_file.FORMAT, "key": path.stem, "warnings": found.pop("warnings")}
        arrays = {name: np.ascontiguousarray(value) for name, value in found.items()}
        digest = crop_file._digest(about, arrays)
        save_arrays(arrays, path, {**about, "sha256": digest})

    return make


def cached_again(folder: Path, sandbox: Path) -> list[str]:
    return ["cache", f"{sandbox / 'films' / '0.mp4'}?face=full", "--json"]


def crops_again(folder: Path, out: str) -> object:
    """What the command says, and the crops that lie there then."""
    reported = json.loads(out)
    files = [path for path in (folder / "cache").rglob("*.safetensors") if path.is_file()]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return reported["ready"] + reported["built"], reported["failed"], digests


# --- manifests and folders -----------------------------------------------------------------------

LIST = "list.csv"
HEAD = "video,ground_truth,subject,light\n"


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def manifest_variants(sandbox: Path) -> Iterator[Variant]:
    canary = sandbox / "canary"
    for name, data in bytes_of(LIST, canary):
        yield Variant(name, put(LIST, data), LIST)
    for kind in KINDS:
        yield Variant(f"is {kind}", replace_by(LIST, kind, sandbox), LIST)
    for k in range(24):
        yield Variant(
            f"{DAMAGES[k % 4].__name__} {k}", change(LIST, DAMAGES[k % 4], [5, k]), "", "any"
        )
    words = {**texts(canary), "pickle": "os\nsystem\n(S'mkdir canary'\ntR.", "root": "/",
             "here": ".", "up twice": "a/../../escape", "windows": "..\\..\\escape",
             "drive": "C:\\x", "share": "\\\\host\\share", "url": "http://127.0.0.1:9/a.mp4",
             "protocol": "concat:0.mp4|/etc/passwd", "file": "file:///etc/passwd",
             "pipe": "pipe:0", "device": "/dev/zero", "long": "a" * 5000, "formula": "=1+1",
             "lines": "a\nb\nc", "NUL": "a\0b"}  # fmt: skip
    for name, word in words.items():
        for column, row in (
            ("video", f"{quoted(word)},0.csv,x,sun\n"),
            ("truth", f"0.mp4,{quoted(word)},x,sun\n"),
            ("subject", f"0.mp4,0.csv,{quoted(word)},sun\n"),
            ("metadata", f"0.mp4,0.csv,x,{quoted(word)}\n"),
        ):
            free = column in ("subject", "metadata") or (column, word) == ("truth", "")
            yield Variant(
                f"{column} is {name}", put(LIST, (HEAD + row).encode(errors="surrogatepass")), "",
                "any" if free else "refused",
            )  # fmt: skip
    there = sandbox / "whole" / "manifest"  # which is whole, but not in the manifest's folder
    for name, way in (("up", "../../../../whole/manifest"), ("absolute", there)):
        lines = {"video": f"{way}/0.mp4,0.csv,x,sun\n", "truth": f"0.mp4,{way}/0.csv,x,sun\n"}
        for column, line in lines.items():
            make = put(LIST, (HEAD + line).encode())
            yield Variant(f"{column} is a way {name} to a film", make, "leads out")
    row = "0.mp4,0.csv,x,sun\n"
    texts_of = {
        "a row twice": HEAD + row + row,
        "a column twice": "video,ground_truth,subject,subject\n" + row,
        "no column": "video,subject\n0.mp4,x\n",
        "a field of a megabyte": HEAD + f"0.mp4,0.csv,x,{'a' * 1_000_000}\n",
        "many columns": HEAD.strip() + "".join(f",c{n}" for n in range(2000)) + "\n" + row,
        "an open quote": HEAD + '"0.mp4,0.csv,x,sun\n',
        "an unknown format": "video,ground_truth,subject,format\n0.mp4,0.csv,x,pickle\n",
        "a wrong format": "video,ground_truth,subject,format\n0.mp4,0.csv,x,mmpd\n",
    }
    for name, text in texts_of.items():
        yield Variant(name, put(LIST, text.encode()), "")
    missing = HEAD + "".join(f"{n}.mp4,,x{n},sun\n" for n in range(50_000))
    yield Variant("fifty thousand rows, one twice", put(LIST, (missing + "7.mp4,,x,y\n").encode()),
                  LIST)  # fmt: skip
    whole = {"comma in quotes": HEAD + '"0.mp4","0.csv","x","sun"\n',
             "order": "light,subject,ground_truth,video\nsun,x,0.csv,0.mp4\n",
             "BOM": "\ufeff" + HEAD + row, "windows": (HEAD + row).replace("\n", "\r\n"),
             "empty lines": "\n" + HEAD + "\n\n" + row + "\n", "./": HEAD + row}  # fmt: skip
    for name, text in whole.items():
        yield Variant(f"same, {name}", put(LIST, text.encode()), "", "same")
    yield from listed_variants(sandbox)


def listed_variants(sandbox: Path) -> Iterator[Variant]:
    """Of the files that a manifest lists."""
    canary = sandbox / "canary"
    for file in ("0.csv", "0.mp4"):
        for name, data in bytes_of(file, canary):
            yield Variant(name, put(file, data), file)
        for kind in KINDS:
            yield Variant(f"{file} is {kind}", replace_by(file, kind, sandbox), file)
    truths = {"NaN": "nan", "inf": "inf", "huge": "1e999", "digits": "9" * 5000, "text": "x" * 5000,
              "code": f"__import__('os').mkdir({str(canary)!r})"}  # fmt: skip
    for name, word in truths.items():
        lines = "time_s,bvp\n" + "".join(f"{0.1 * k:.1f},{word}\n" for k in range(64))
        yield Variant(f"0.csv of {name}", put("0.csv", lines.encode()), "0.")
        lines = "time_s,bvp\n" + "".join(f"{word},1\n" for k in range(64))
        yield Variant(f"0.csv at {name}", put("0.csv", lines.encode()), "0.")
    port = (sandbox / "port").read_text()
    plays = {
        "playlist of the net": f"#EXTM3U\n#EXTINF:6,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "playlist of a file": "#EXTM3U\n#EXTINF:6,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile /etc/passwd\n",
        "concat of the net": f"ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.ts\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
               f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "dash": f'<MPD><Period><BaseURL>http://127.0.0.1:{port}/</BaseURL></Period></MPD>',
    }  # fmt: skip
    for name, text in plays.items():
        yield Variant(f"0.mp4 is a {name}", put("0.mp4", text.encode()), "0.mp4")


def checked(folder: Path, sandbox: Path) -> list[str]:
    spec = f"manifest:{folder / LIST}?face=full"
    return ["evaluate", "--data", spec, "--method", "green", "--json", "--no-cache", "--out",
            str(folder / "out")]  # fmt: skip


def evaluation(folder: Path, out: str) -> object:
    reported = json.loads(out)
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page.replace("<script>/*", "") or "alert" not in page
    return [{k: v for k, v in row.items() if k != "dataset"} for row in reported["windows"]]


# --- the kinds, and running them -----------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How a kind of file is made whole, mutated, used and compared."""

    whole: Make
    variants: Callable[[Path], Iterator[Variant]]
    command: Callable[[Path, Path], list[str]]
    result: Callable[[Path, str], object]


KIND: Mapping[str, Kind] = {
    "checkpoint": Kind(whole_checkpoint, checkpoint_variants, predicted, prediction),
    "configuration": Kind(lambda folder: None, config_variants, trained, training),
    "cache": Kind(lambda folder: None, cache_variants, cached_again, crops_again),
    "manifest": Kind(lambda folder: None, manifest_variants, checked, evaluation),
}


def film(path: Path, seconds: float, bpm: float = 72) -> None:
    """A plain image that pulses."""
    wave = np.rint(3 * np.sin(2 * np.pi * bpm / 60 * np.arange(round(10 * seconds)) / 10))
    images = (np.array([140, 110, 90]) + wave[:, None] * [1, 2, 1]).astype(np.uint8)
    write_video(path, [np.tile(rgb, (32, 32, 1)) for rgb in images], fps=10, crf=1)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Films, and whole inputs of each kind in `whole/KIND`, deep enough that ways up end in it."""
    root = tmp_path_factory.mktemp("sandbox")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        server.setblocking(False)
        (root / "port").write_text(str(server.getsockname()[1]))
        (root / "secret.txt").write_text("nobody's business\n" * 20)
        film(root / "film.mp4", 6)
        (root / "films").mkdir()
        for number in range(2):
            film(root / "films" / f"{number}.mp4", 6, 70 + 5 * number)
            os.utime(root / "films" / f"{number}.mp4", (1e9, 1e9))
        whole = {name: root / "whole" / name for name in KIND}
        for folder in whole.values():
            folder.mkdir(parents=True)
        whole_checkpoint(whole["checkpoint"])
        films = f'data = ["{root / "films"}?face=full"]\n'
        (whole["configuration"] / TOML).write_text(SMALL + films)
        film(whole["manifest"] / "0.mp4", 10.4)
        times = np.arange(0, 10.4, 0.05)
        rows = [f"{t:.2f},{np.sin(2 * np.pi * 1.2 * t):.4f}\n" for t in times]
        (whole["manifest"] / "0.csv").write_text("time_s,bvp\n" + "".join(rows))
        (whole["manifest"] / LIST).write_text(HEAD + "0.mp4,0.csv,x,sun\n")
        patch.setenv("RPPG_CACHE", str(whole["cache"] / "cache"))
        assert run(["cache", f"{root / 'films' / '0.mp4'}?face=full"])[0] == 0
        patch.setenv("RPPG_CACHE", str(root / "cache"))
        patch.chdir(root / "whole")
        yield root
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()


def content(sandbox: Path) -> dict[str, str]:
    """Whatever lies in the sandbox but the cache, with digests of files."""
    found = {}
    for folder, folders, files in os.walk(sandbox):
        if Path(folder) == sandbox and "cache" in folders:
            folders.remove("cache")
        for name in [*folders, *files]:
            path = Path(folder, name)
            plain = path.is_file() and not path.is_symlink()
            reported = hashlib.sha256(path.read_bytes()).hexdigest() if plain else "-"
            found[str(path.relative_to(sandbox))] = reported
    return found


def _too_late(*_: object) -> None:
    raise TimeoutError(f"took {VARIANT_S} s of a processor, or {HANG_S} s")


def attempt(kind: Kind, folder: Path, sandbox: Path) -> tuple[int | None, str, str]:
    """Run the command on a folder, with bounds on time and memory."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = [signal.signal(kind, _too_late) for kind in (signal.SIGALRM, signal.SIGPROF)]
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, VARIANT_S)
    signal.alarm(HANG_S)
    try:
        with pytest.MonkeyPatch.context() as patch:
            if (folder / "cache").exists():
                patch.setenv("RPPG_CACHE", str(folder / "cache"))
            return run(kind.command(folder, sandbox))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGPROF, before[1])
        resource.setrlimit(resource.RLIMIT_AS, limits)


def judged(
    variant: Variant, kind: Kind, folder: Path, expected: object, ended: tuple[int | None, str, str]
) -> str:
    """What is wrong with how a command ended; nothing if nothing is."""
    code, out, err = ended
    lines = err.splitlines()
    if code == 2:
        reported = bool(lines) and lines[-1].startswith("rppg: ")
        listed = out.startswith("{") and bool(json.loads(out).get("failed"))
        wrong = {
            "refused": variant.ends == "same",
            "no reason": not reported and not listed,
            "many lines": len(lines) > 1 + MORE_LINES,
            "not printable": not all(line.isprintable() for line in lines),
            "too long": any(len(line) > 700 for line in lines),
            f"{variant.named} not named": variant.named not in err + out,
            "an output": any((folder / "out" / name).exists() for name in OUTPUTS),
        }
    elif code == 0:
        wrong = {"accepted": variant.ends == "refused"}
        if variant.ends != "any":
            wrong["another result"] = kind.result(folder, out) != expected
    else:
        wrong = {f"code {code}": True}
    told_wrong = "; ".join(what for what, is_so in wrong.items() if is_so)
    return f"{told_wrong}\n{out[-300:]}\n{err[-800:]}" if told_wrong else ""


@dataclass(frozen=True)
class Fuzz:
    """Variants of a kind in a sandbox."""

    name: str
    sandbox: Path

    @property
    def folder(self) -> Path:
        return self.sandbox / "a" / "b" / "c" / "d"

    def fresh(self) -> None:
        """The whole inputs."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.sandbox / "whole" / self.name, self.folder)

    def variants(self) -> list[Variant]:
        """All of the kind; each has a name of its own."""
        found = list(KIND[self.name].variants(self.sandbox))
        names = [variant.name for variant in found]
        assert len(set(names)) == len(names), {n for n in names if names.count(n) > 1}
        return found

    def wrongs(self, variants: Sequence[Variant]) -> dict[str, str]:
        """What is wrong, by the names of variants."""
        kind = KIND[self.name]
        self.fresh()
        code, out, err = attempt(kind, self.folder, self.sandbox)
        assert code == 0, err
        expected = kind.result(self.folder, out)
        wrong: dict[str, str] = {}
        mine = str(self.folder.relative_to(self.sandbox))
        for variant in variants:
            self.fresh()
            variant.make(self.folder)
            before = content(self.sandbox)
            ended = attempt(kind, self.folder, self.sandbox)
            complaint = judged(variant, kind, self.folder, expected, ended)
            after = content(self.sandbox)
            strange = {
                path for path in {*before, *after}
                if before.get(path) != after.get(path)
                and not path.startswith((f"{mine}/out", f"{mine}/cache"))
            }  # fmt: skip
            if strange:
                complaint += f"\nchanged: {strange}"
                shutil.rmtree(self.sandbox / "canary", ignore_errors=True)
            if complaint:
                wrong[variant.name] = complaint
        shutil.rmtree(self.folder)
        return wrong


def test_variants_are_many(sandbox: Path) -> None:
    assert sum(len(Fuzz(name, sandbox).variants()) for name in KIND) >= 1000


@pytest.mark.parametrize(("name", "every"), QUICK.items())
def test_some(name: str, every: int, sandbox: Path) -> None:
    run_fuzz(name, sandbox, every)


@pytest.mark.slow
@pytest.mark.parametrize("name", KIND)
def test_all(name: str, sandbox: Path) -> None:
    run_fuzz(name, sandbox, 1)


def run_fuzz(name: str, sandbox: Path, every: int) -> None:
    """One variant of a kind in so many."""
    fuzz = Fuzz(name, sandbox)
    variants = fuzz.variants()[::every]
    wrong = fuzz.wrongs(variants)
    reported = "\n\n".join(f"{which}: {complaint}" for which, complaint in wrong.items())
    assert not wrong, f"{len(wrong)} of {len(variants)} variants\n{reported}"


# --- the program itself --------------------------------------------------------------------------


def test_canaries_sing(tmp_path: Path) -> None:
    """What is looked for would be seen: each pickle does what it is feared for."""
    for name, data in pickles(tmp_path / "canary").items():
        file = io.BytesIO(data)
        if "torch" in name:
            torch.load(file, weights_only=False)
        elif name == "npy":
            np.load(file, allow_pickle=True)
        elif name == "npz":
            np.load(file, allow_pickle=True)["frames"]
        else:
            pickle.load(file)
        (tmp_path / "canary").rmdir()


HARMFUL = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve",
           "yaml", "runpy", "code", "codeop", "subprocess", "pty", "ctypes"}  # fmt: skip
BUILT_IN = {"eval", "exec", "compile", "__import__"}
"""Not so the methods of that name: networks have `eval()`, regular expressions `compile()`."""
CALLS = {"import_module", "system", "popen", "extractall", "extract", "read_pickle", "unsafe_load",
         "exec_module", "load_module", "builtins.eval", "builtins.exec"}  # fmt: skip
LOADS = {"torch", "jit", "hub", "export", "package", "np", "numpy", "pickle"}
"""Modules whose `load` reads pickles, unless an argument forbids it."""


def harmful(source: str) -> Iterator[str]:
    """What in a program could run what a file says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            yield from (f"import {name}" for name in names & HARMFUL)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").rpartition(".")[2]
            names = {alias.name for alias in node.names}
            if (node.module or "").partition(".")[0] in HARMFUL or (
                module in LOADS and names & {"load", "load_state_dict_from_url"}
            ):
                yield f"from {node.module} import {', '.join(names)}"
        elif isinstance(node, ast.Call):
            reported = ast.unparse(node)
            name = ast.unparse(node.func)
            owner, _, last = name.rpartition(".")
            if (name in BUILT_IN or last in CALLS) and reported != "exec('')":
                yield reported
            if last in ("load", "open_memmap") and owner.rpartition(".")[2] in LOADS:
                safe = any(
                    (k.arg, getattr(k.value, "value", None)) == ("allow_pickle", False)
                    for k in node.keywords
                )
                if not safe:
                    yield reported


def test_the_program_reads_no_pickle_and_runs_no_text() -> None:
    files = sorted(Path(rppg.__file__).parent.rglob("*.py"))
    assert len(files) > 100
    found = {f.stem: list(harmful(f.read_text(encoding="utf-8"))) for f in files}
    # The one program that it starts is its own, with fixed arguments.
    assert {name: what for name, what in found.items() if what} == {
        "mat_files": ["import subprocess"]
    }


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "torch.load(path)", "from torch import load",
        "np.load(path)", "np.load(path, allow_pickle=True)", "eval(text)", "exec(text)",
        "yaml.unsafe_load(x)", "import yaml", "archive.extractall()", "torch.jit.load(path)",
        "os.system(x)", "torch.load(path, weights_only=False)", "exec('1')",
    ],
)  # fmt: skip
def test_what_would_is_found(line: str) -> None:
    assert list(harmful(line))


DECOYS = ("torch", "json", "numpy", "safetensors", "av", "rich", "typer", "tomllib", "rppg", "yaml",
          "sitecustomize", "usercustomize", "matplotlib", "hashlib", "conftest")  # fmt: skip
PROCESSES = [("checkpoint", "vouched net.safetensors is a pickle, torch")]
MORE_PROCESSES = [("manifest", "0.mp4 is a pickle, protocol 2"),
                  ("checkpoint", "net.json is a pickle, protocol 0"),
                  ("configuration", "a.toml is a pickle, npz"),
                  ("configuration", "method is python"),
                  ("cache", "crops is a pickle, npy"), ("cache", "contents says shell"),
                  ("manifest", "list.csv is a pickle, old torch"), ("manifest", "video is up"),
                  ("manifest", "truth is shell")]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "which"),
    [*PROCESSES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE_PROCESSES)],
)
def test_as_a_process_among_decoys(name: str, which: str, sandbox: Path, tmp_path: Path) -> None:
    """The command itself, in a folder with modules and settings that would be run if imported."""
    fuzz, kind = Fuzz(name, sandbox), KIND[name]
    (variant,) = (v for v in fuzz.variants() if v.name == which)
    fuzz.fresh()
    variant.make(fuzz.folder)
    for decoy in DECOYS:
        text = f"import os; os.mkdir({str(sandbox / 'canary')!r})"
        (fuzz.folder / f"{decoy}.py").write_text(text)
    (fuzz.folder / "matplotlibrc").write_text("backend: module://torch\n")
    before = content(sandbox)
    ended = subprocess.run(
        [Path(sys.executable).with_name("rppg"), *kind.command(fuzz.folder, sandbox)],
        cwd=fuzz.folder, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "RPPG_CACHE": str(fuzz.folder / "cache"), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == (0 if variant.ends == "same" else 2), ended.stderr
    assert "Traceback" not in ended.stderr
    if ended.returncode:
        assert ended.stderr.splitlines()[-1].startswith("rppg: ") and variant.named in ended.stderr
    mine = str(fuzz.folder.relative_to(sandbox))
    after = content(sandbox)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert all(path.startswith((f"{mine}/out", f"{mine}/cache")) for path in changed), changed


# --- folders, archives and names -----------------------------------------------------------------


def test_names_in_an_archive_lead_nowhere(sandbox: Path, tmp_path: Path) -> None:
    """Nothing is unpacked to disk, whatever the members of BP4D+'s ZIP files are called."""
    (tmp_path / "2D+3D").mkdir()
    folder = tmp_path / "Physiology" / "F001" / "T1"
    folder.mkdir(parents=True)
    (folder / "BP_mmHg.txt").write_text("".join(f"{n % 7}\n" for n in range(9000)))
    with zipfile.ZipFile(tmp_path / "2D+3D" / "F001.zip", "w") as archive:
        for name in ("../../escape-1.jpg", "/tmp/escape-2.jpg", "F001/T1/../../../escape-3.jpg",
                     "F001/T1/\x1b[31m4.jpg", "F001/T1/5.jpg/../6.jpg"):  # fmt: skip
            archive.writestr(name, b"\xff\xd8 no image \xff\xd9")
    before = content(tmp_path)
    for command in (["check"], ["cache", "--json"], ["evaluate", "--method", "pos", "--data"]):
        code, out, err = run([*command, f"bp4d:{tmp_path}"])
        assert code == 2 and "Traceback" not in err, err
        assert "F001" in out + err
    assert content(tmp_path) == before and not Path("/tmp/escape-2.jpg").exists()


def test_a_bomb_in_an_archive(tmp_path: Path) -> None:
    """A member of 100 MB in a file of 100 kB is refused before it is unpacked."""
    import tracemalloc

    from rppg.errors import InputError
    from rppg.video.sources.image_sequence import ImageSequence, number_clock

    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.jpg", bytes(100_000_000))
    tracemalloc.start()
    with pytest.raises(InputError):
        list(ImageSequence(path, number_clock(30), "a").frames())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("name", ["a\nrppg: all is well.mp4", "\x1b]0;x\x07\x1b[2J.mp4"])
def test_names_of_files_do_not_write_over_the_terminal(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("no video")
    for command in (["predict", str(tmp_path / name)], ["check", str(tmp_path)]):
        code, out, err = run(command)
        assert code == 2
        assert all(line.isprintable() for line in (out + err).splitlines())
        assert not any(line.startswith("rppg: all is well") for line in err.splitlines())


@pytest.mark.parametrize("what", ["npz", "cut"])
def test_the_cache_of_synthetic_people(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged, or a pickle: reported, rendered again, and whole the next time."""
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "cache"))
    command = ["check", "synthetic:lab", "--subjects", "1"]
    assert run(command)[0] == 0
    (file,) = (f for f in tmp_path.rglob("*.npz") if ".truth" not in f.name)
    data = pickles(tmp_path / "canary")["npz"] if what == "npz" else file.read_bytes()[:1000]
    size = file.stat().st_size
    file.write_bytes(data)
    code, out, err = run(command)
    assert not (tmp_path / "canary").exists()
    assert code == 2 and f"{file}: can't be used" in out and not err
    assert file.stat().st_size == size
    assert run(command)[0] == 0


def test_a_folder_that_links_to_itself(sandbox: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a.mp4").symlink_to(sandbox / "film.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zeros.mp4").symlink_to("/dev/zero")
    code, out, err = run(["cache", f"{tmp_path}?face=full", "--json"])
    assert code == 2 and not err
    reported = json.loads(out)
    assert (reported["built"] + reported["ready"], len(reported["failed"])) == (1, 2)
    assert all("pipe or a device" in failure["reason"] for failure in reported["failed"])
