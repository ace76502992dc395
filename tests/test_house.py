"""The house: which room uses which, that no imports run in a circle, and that `import vitlab` stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vitlab"

# A room uses rooms above it and its own files. A file that has a line of its own does not go with its room.
ORDER = """
files steps machine validation
fast
pretrained
embeddings attention layer_norm ffn encoder fast.class_token vit cifar interpretation
overlap_embeddings sra mix_ffn mit decoder segformer ade20k
segmentation
data
pretrained.letters pretrained.preparation pretrained.predictor
pretrained.overlay
figures checks training
milestone
grading bench authoring
cli __main__
""".split()


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package, by its name; a folder's name is that of its __init__.py."""
    paths = sorted(package.rglob("*.py"))
    names = (path.relative_to(package.parent).with_suffix("").as_posix().replace("/", ".") for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


def imported(source: str) -> Iterator[str]:
    """What a file imports, within functions too, as dotted names, whose last part may be no module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph(package: Path) -> dict[str, set[str]]:
    """For each module the ones that it imports, the __init__.py of folders on the way to them included."""
    known, graph = modules(package), {}
    for module, path in known.items():
        graph[module] = set()
        for name in imported(path.read_text(encoding="utf-8")):
            way = [part for part in prefixes(name) if part in known]  # the last one is what is meant
            graph[module] |= set(way) - set(prefixes(module)) | set(way[-1:])
    return graph


def prefixes(name: str) -> list[str]:
    """a.b.c -> a, a.b, a.b.c"""
    return list(accumulate(name.split("."), "{}.{}".format))


def room(module: str) -> int:
    """The place in the order."""
    name = module.removeprefix("vitlab.")
    places = [i for i, entry in enumerate(ORDER) if name == entry or name.startswith(entry + ".")]
    assert places, f"{module} has no place in the order of rooms"
    return max(places, key=lambda i: len(ORDER[i]))


def test_every_place_in_the_order_is_that_of_a_module():
    assert {f"vitlab.{entry}" for entry in ORDER} <= modules(PACKAGE).keys()


def test_imports_run_one_way():
    graph = import_graph(PACKAGE)
    upwards = [
        f"{module} imports {other}"
        for module in graph.keys() - {"vitlab"}
        for other in graph[module]
        if room(other) > room(module)
    ]
    assert not upwards


def test_no_imports_run_in_a_circle():
    TopologicalSorter(import_graph(PACKAGE)).prepare()


@pytest.mark.parametrize(
    "files",
    [
        {"a.py": "def f():\n    from made_up import b", "b.py": "import made_up.a"},
        {"a.py": "from made_up.room.c import d", "room/__init__.py": "from made_up.a import f", "room/c.py": ""},
        {"a/__init__.py": "from made_up.a import b", "a/b.py": "from made_up.a import f"},
    ],
    ids=["within a function", "through a folder", "with one's own folder"],
)
def test_a_circle_would_be_seen(files, tmp_path):
    for name, source in ({"__init__.py": ""} | files).items():
        path = tmp_path / "made_up" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    with pytest.raises(CycleError, match=r"made_up\.a"):
        TopologicalSorter(import_graph(tmp_path / "made_up")).prepare()


def test_importing_the_package_loads_torch_and_nothing_heavier():
    program = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import vitlab\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(names - set(sys.stdlib_module_names) - {'torch'})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'vitlab'}"
