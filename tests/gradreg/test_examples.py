"""The examples in the docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import gradreg

MODULES = [module.name for module in pkgutil.walk_packages(gradreg.__path__, "gradreg.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    examples = doctest.DocTestFinder().find(module, globs={})
    for example in examples:
        assert doctest.DocTestRunner().run(example).failed == 0, example.name


def test_every_public_class_has_an_example():
    without = [
        name
        for name in gradreg.__all__
        if ">>>" not in (getattr(gradreg, name).__doc__ or "") and not name.startswith("MaskSt")
    ]
    assert without == []
