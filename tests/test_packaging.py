"""The package as others get it: its wheel, its conda environment, its address."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
import yaml

from vitlab.authoring.notebooks import generated_cells

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
REPOSITORY = CONFIG["repository"]["url"]


def source_files() -> list[Path]:
    """What git keeps, or would keep after the next `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def test_conda_environment_is_what_pyproject_says():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *from_conda, from_pip = environment["dependencies"]
    needed = {requirement.replace("torch", "pytorch") for requirement in PROJECT["dependencies"]}
    assert set(from_conda) == {f"python{PROJECT['requires-python']}", "pip", *needed}
    extras = ",".join(PROJECT["optional-dependencies"])
    assert from_pip == {"pip": [f"--editable=.[{extras}]"]}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A clean environment outside the repository that has vitlab from a wheel: its folder and its Python.

    The wheel is built from a source distribution, so that both are tried. The environment has this one's packages
    beside the wheel, because installing PyTorch again would take minutes; a path file within a folder that was itself
    added by a path file is not read, so this one's editable vitlab stays out.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    for path in source_files():
        (folder / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / "source" / path)

    def run(*command, cwd=folder):
        subprocess.run([str(part) for part in command], cwd=cwd, check=True, capture_output=True, text=True)

    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    run(sys.executable, "-c", build, cwd=folder / "source")
    (sdist,) = folder.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", sdist)
    (wheel,) = folder.glob("*.whl")

    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-index", "--no-deps", wheel)
    (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site_packages / "packages.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder, python


def in_wheel(elsewhere, program: str):
    """What `program` prints as JSON when the environment with the wheel runs it."""
    folder, python = elsewhere
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_wheel_checks_an_exercise(elsewhere):
    place, possible, points = in_wheel(
        elsewhere,
        "import json, vitlab.attention, vitlab.checks\n"
        "names = [exercise.name for exercise in vitlab.checks.exercises('attention')]\n"
        "report = vitlab.checks.run('attention', {name: getattr(vitlab.attention, name) for name in names})\n"
        "print(json.dumps([vitlab.__file__, report.possible, report.points]))\n",
    )
    assert Path(place).is_relative_to(elsewhere[0])
    assert points == possible > 0


def test_wheel_has_every_module_recipe_and_trained_model(elsewhere):
    packaged = in_wheel(
        elsewhere,
        "import json, pathlib, vitlab\n"
        "root = pathlib.Path(vitlab.__file__).parents[1]\n"
        "print(json.dumps([path.relative_to(root).as_posix() for path in root.rglob('vitlab/**/*')\n"
        "    if path.is_file() and path.suffix != '.pyc']))\n",
    )
    written = {path.as_posix() for path in source_files() if path.parts[0] == "vitlab"}
    assert set(packaged) == written


def test_wheel_names_the_repository(elsewhere):
    urls = in_wheel(
        elsewhere,
        "import json, importlib.metadata\n"
        "print(json.dumps(importlib.metadata.metadata('vitlab').get_all('Project-URL')))\n",
    )
    assert f"Source, {REPOSITORY}" in urls


def test_wheel_carries_its_licence(elsewhere):
    expression, licence = in_wheel(
        elsewhere,
        "import json, importlib.metadata\n"
        "package = importlib.metadata.distribution('vitlab')\n"
        "print(json.dumps([package.metadata['License-Expression'], package.read_text('licenses/LICENSE')]))\n",
    )
    assert expression == "MIT" and licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_who_reads_of_nvidias_weights_reads_what_they_are_for():
    silent = []
    for path in source_files():
        text = (ROOT / path).read_bytes().decode("utf-8", errors="replace")
        if path.parts[0] != "tests" and re.search(r"nvidia/(mit|segformer)-", text) and "for research" not in text:
            silent.append(path.as_posix())
    assert silent == []


def test_repository_address_stands_once():
    """In _config.yml, and otherwise only in the cells that `python -m vitlab.authoring` writes."""
    owner_and_name = re.sub(r"^https://[^/]+/", "", REPOSITORY)
    places = []
    for path in source_files():
        text = (ROOT / path).read_bytes().decode("utf-8", errors="replace")
        if path.suffix == ".ipynb":
            generated = generated_cells(CONFIG, topic=path.stem)
            cells = [cell for cell in json.loads(text)["cells"] if cell["id"] not in generated]
            text = json.dumps(cells)
        if owner_and_name in text:
            places.append(path.as_posix())
    assert places == ["_config.yml"]
