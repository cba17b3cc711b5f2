"""docs/traceability.md names what works, where, and by which test; nothing in it may go stale."""

import ast
import re

import pytest

from resources.deployments import ROOT

ROW = re.compile(r"^\| (S\d-\d\d) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$")


def rows() -> list[tuple[str, list[str], list[str]]]:
    """(capability, modules, tests) of every row of the table."""
    text = (ROOT / "docs" / "traceability.md").read_text()
    matches = [match for line in text.splitlines() if (match := ROW.match(line))]
    return [(m[1], re.findall(r"`([^`]+)`", m[3]), re.findall(r"`([^`]+)`", m[4])) for m in matches]


def test_the_table_has_rows_and_names_no_capability_twice():
    ids = [capability for capability, _, _ in rows()]
    assert len(ids) > 20
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("capability", "modules", "tests"), rows(), ids=lambda value: str(value)[:40])
def test_every_capability_has_its_module_and_its_test(capability, modules, tests):
    assert modules, capability
    for module in modules:
        assert (ROOT / module).exists(), (capability, module)
    assert tests, capability
    for test in tests:
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, (capability, test)
