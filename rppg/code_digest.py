"""A digest of code that changes with what the code does, not with what is said about it.

What is kept on disk (crops, rendered people, benchmark trials) is keyed by the code that made it.
Comments, docstrings and formatting are left out, so that editing them invalidates nothing.
"""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest_code(paths: Iterable[Path], *, root: Path, without: Iterable[str] = ()) -> str:
    """Return the SHA-256, in hexadecimal, of Python files.

    Args:
        paths: files, and folders whose modules all count, in any order.
        root: the folder that `paths` lie in. Where the root lies doesn't matter.
        without: names of folders that don't count.

    Raises:
        FileNotFoundError: a path that isn't there.
    """
    left_out = set(without)
    files: set[Path] = set()
    for path in paths:
        files |= set(path.rglob("*.py")) if path.is_dir() else {path}
    digest = hashlib.sha256()
    for file in sorted(files):
        name = file.relative_to(root)
        if left_out.isdisjoint(name.parts[:-1]):
            digest.update(f"\0{name.as_posix()}\0{normalise(file.read_text('utf-8'))}".encode())
    return digest.hexdigest()


def normalise(source: str) -> str:
    """Return a module's code without comments, docstrings and other bare constants."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_bare_constant(part)]
    return ast.unparse(tree)


def _is_bare_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
