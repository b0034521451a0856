"""Tables as TOML text; the standard library only reads it."""

import json
import re
from collections.abc import Mapping
from typing import Any


def toml_text(table: Mapping[str, Any], prefix: str = "") -> str:
    """Return a table as TOML; None is left out, which TOML has no word for."""
    lines, sections = [], []
    for key, value in table.items():
        name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)
        if isinstance(value, Mapping):
            sections.append(f"\n[{prefix}{name}]\n" + toml_text(value, f"{prefix}{name}."))
        elif value is not None:
            lines.append(f"{name} = {_value(value)}\n")
    return "".join([*lines, *sections])


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
