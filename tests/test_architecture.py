"""What import-linter's contracts (pyproject.toml, `make check`) have no word for."""

import sys

import grimp
import pytest

TRAINERS = {"lightning", "transformers"}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("gradreg", include_external_packages=True, cache_dir=None)


def test_gradreg_imports_torch_and_the_standard_library_alone(graph):
    """But for `gradreg.integrations`, whose modules import their trainer, and nobody imports."""
    known = {"gradreg", "torch", *sys.stdlib_module_names}
    strangers = {name for name in graph.modules if name.partition(".")[0] not in known}
    assert strangers == TRAINERS
    for name in strangers:
        module = f"gradreg.integrations.{name}"
        assert graph.find_modules_that_directly_import(name) == {module}
        assert not graph.find_modules_that_directly_import(module)
