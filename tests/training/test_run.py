"""The folder of a run: it belongs to one run, and what stands there is whole, right and nobody else's."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from vitlab.cli import app
from vitlab.data import DataError
from vitlab.pretrained import checkpoint
from vitlab.training import Recipe, TrainingError, log, loop, read_recipe, train
from vitlab.training.batches import Batches
from vitlab.training.checkpoint import FILE
from vitlab.training.log import read_log
from vitlab.training.publishing import publish

VIT = {"kind": "ViT", "depth": 1, "d": 16, "num_heads": 2, "patch_size": 4, "image_size": 8, "channels": 1}
TINY = Recipe("tiny", {"name": "digits"}, VIT, steps=6, batch_size=64, lr=1e-2, evaluations=2)
UNET = {"kind": "UNet", "width": 4, "levels": 2}


def stopped(recipe: Recipe, folder: Path, after: int) -> Path:
    """A run that was interrupted after so many steps."""
    whole = Batches.__call__

    def call(self, step):
        if step == after and folder.joinpath(FILE).exists():  # and not when the first batch is tried
            raise KeyboardInterrupt
        return whole(self, step)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Batches, "__call__", call)
        train(recipe, folder, checkpoint_seconds=0)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """One finished run, and one that was interrupted after 3 of 6 steps."""
    folder = tmp_path_factory.mktemp("runs")
    train(TINY, folder / "finished")
    stopped(TINY, folder / "half", after=3)
    return folder


@pytest.fixture
def finished(runs, tmp_path) -> Path:
    return shutil.copytree(runs / "finished", tmp_path / "finished")


@pytest.fixture
def half(runs, tmp_path) -> Path:
    return shutil.copytree(runs / "half", tmp_path / "half")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def masks(folder: Path, images: int = 4) -> dict:
    """The table [data] of pairs of 16 x 16 pixels, which it draws."""
    for split in ("train", "val"):
        for i in range(images):
            draw = np.random.default_rng((i, split == "val")).integers
            for kind, pixels in (("images", draw(0, 256, (16, 16, 3))), ("annotations", draw(0, 2, (16, 16)))):
                path = folder / kind / split / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return {"name": "folder", "path": str(folder), "classes": ["a", "b"], "ignore": 255}


def test_a_finished_run_is_left_as_it_is(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    metrics["where"]["device"] = "another machine"
    (finished / "metrics.json").write_text(json.dumps(metrics))
    (finished / FILE).unlink()  # 400 MB that nobody needs any more
    (finished / "log.jsonl").write_text("nonsense")
    before = contents(finished)
    assert train(TINY, finished) == metrics
    with pytest.raises(TrainingError, match=r"holds a run with seed = 0, but now it is 7: choose another folder"):
        train(replace(TINY, seed=7), finished)
    assert contents(finished) == before


def test_metrics_that_are_lost_are_written_again_as_they_were(finished):
    before = (finished / "metrics.json").read_text()
    whole = {"test_accuracy": 1, "seconds": 1, "recipe": {}}
    wrong = [whole | each for each in ({"test_accuracy": float("nan")}, {"seconds": "soon"}, {"recipe": []})]
    for damage in (b"{", b"[]", b'{"test_accuracy": 1}', b"\xff", *(json.dumps(each).encode() for each in wrong)):
        (finished / "metrics.json").write_bytes(damage)
        with pytest.raises(TrainingError, match=r"metrics\.json(: | is no JSON file| holds| has no)"):
            train(TINY, finished)
    (finished / "metrics.json").unlink()
    (finished / "log.jsonl").unlink()
    (finished / "model" / "notes").write_text("the reader's own")
    train(TINY, finished)
    assert (finished / "metrics.json").read_text() == before and len(read_log(finished)) == 6
    assert (finished / "model" / "notes").read_text() == "the reader's own"


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b"[]\n", b'{"loss": 1}\n', b"\xff\n", b'{"step": 4, "lo'])
def test_a_damaged_log_is_written_again(damage, half):
    (half / "log.jsonl").write_bytes(damage + (half / "log.jsonl").read_bytes())
    train(TINY, half)
    assert [line["step"] for line in read_log(half)] == [1, 2, 3, 4, 5, 6]


def test_between_two_lines_of_the_log_nothing_is_lost(tmp_path):
    recipe = replace(TINY, steps=250)  # a line every 2 steps
    train(recipe, tmp_path / "whole")
    folder = stopped(recipe, tmp_path / "run", after=7)
    with safe_open(folder / FILE, "pt") as file:
        assert json.loads(file.metadata()["meta"])["step"] == 7
    train(recipe, folder)
    one, other = (
        [{name: value for name, value in line.items() if name != "seconds"} for line in read_log(tmp_path / name)]
        for name in ("whole", "run")
    )
    assert one == other


def test_another_recipe_does_not_go_on_in_the_same_folder(half):
    with pytest.raises(TrainingError, match=r"holds a run with steps = 6, but now it is 8: choose another folder"):
        train(replace(TINY, steps=8), half)


def change(path: Path, meta: dict | None = None, **kinds) -> None:
    with safe_open(path, "pt") as file:
        about = dict(file.metadata())
        about["meta"] = json.dumps(json.loads(about["meta"]) | (meta or {}))
        tensors = {name: file.get_tensor(name).to(**kinds) for name in file.keys()}
    save_file(tensors, path, about)


def flip_a_bit(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda path: path.write_bytes(b"nothing of use"), "is damaged"),
        (lambda path: flip_a_bit(path, 8), "is damaged"),  # where the header begins, behind its length
        (lambda path: flip_a_bit(path, -1), "was changed after it was written"),
        (lambda path: change(path, dtype=torch.float16), "was changed after it was written"),
        (lambda path: change(path, {"step": 1_000_000}), "was changed after it was written"),
        (lambda path: save_file({}, path), "was not written by this version"),
        (lambda path: os.truncate(path, 5000), "is damaged"),
    ],
    ids=[
        "no checkpoint",
        "a bit of the header",
        "a bit of a tensor",
        "float16",
        "another step",
        "nothing in it",
        "cut off",
    ],
)
def test_a_damaged_checkpoint_is_not_gone_on_from(damage, sentence, half):
    damage(half / FILE)
    before = contents(half)
    with pytest.raises(TrainingError, match=sentence):
        train(TINY, half)
    assert contents(half) == before


def test_other_data_are_noticed(tmp_path):
    recipe = replace(TINY, data=masks(tmp_path / "data"), model=UNET, batch_size=2)
    stopped(recipe, tmp_path / "run", after=3)
    masks(tmp_path / "data", images=5)
    with pytest.raises(TrainingError, match=r"holds a run on other data: images, masks or classes were added"):
        train(recipe, tmp_path / "run")
    for kind in ("images", "annotations"):
        for split in ("train", "val"):
            (tmp_path / "data" / kind / split / "4.png").unlink()
    train(recipe, tmp_path / "run")


def test_a_folder_in_use_is_not_entered(half):
    before = contents(half)
    with FileLock(half / ".lock"):
        with pytest.raises(TrainingError, match=r"another process is training in .*half: wait for it"):
            train(TINY, half)
        assert contents(half) == before
    train(TINY, half)


@pytest.mark.parametrize("name", ["model", "curves.png", "metrics.json", "log.jsonl", FILE])
@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("my own"), lambda path: path.mkdir()], ids=["file", "folder"]
)
def test_what_others_have_written_is_left_alone(make, name, tmp_path):
    make(tmp_path / name)
    before = contents(tmp_path)
    with pytest.raises((TrainingError, OSError), match=name.replace(".", r"\.")):
        train(TINY, tmp_path)
    assert contents(tmp_path) | {str(tmp_path / ".lock"): b""} == before | {str(tmp_path / ".lock"): b""}


def test_drafts_of_killed_runs_are_removed(half):
    for name in (FILE, "model", "metrics.json"):
        (half / f"{name}.draft").mkdir()
        (half / f"{name}.draft" / ".tmpAbCdEf").write_bytes(bytes(1000))
    (half / "log.jsonl.draft").write_text("half")
    (half / "thesis.draft").write_text("my own")
    train(TINY, half)
    assert [path.name for path in half.glob("*.draft")] == ["thesis.draft"]


def test_a_batch_without_a_labelled_pixel_counts_for_nothing(tmp_path):
    data = masks(tmp_path / "data")
    for i in (0, 1, 2):
        Image.new("L", (16, 16), 255).save(tmp_path / "data" / "annotations" / "train" / f"{i}.png")
    train(replace(TINY, data=data, model=UNET, batch_size=2, steps=20), tmp_path / "run")
    losses = [line["loss"] for line in read_log(tmp_path / "run")]
    assert 0 in losses and max(losses) > 0


def test_images_that_are_all_alike_are_found_before_the_training(tmp_path):
    data = masks(tmp_path / "data")
    for path in (tmp_path / "data" / "images").rglob("*.png"):
        Image.new("RGB", (16, 16), (0, 50, 100)).save(path)
    with pytest.raises(DataError, match="a channel has the same value in all training images"):
        train(replace(TINY, data=data, model=UNET, batch_size=2), tmp_path / "run")


def test_a_test_image_that_does_not_fit_is_found_before_the_training(tmp_path):
    data = masks(tmp_path / "data")
    for kind, mode in (("images", "RGB"), ("annotations", "L")):
        Image.new(mode, (1, 1)).save(tmp_path / "data" / kind / "val" / "0.png")
    recipe = replace(TINY, data=data, model=UNET | {"levels": 3}, batch_size=2)
    with pytest.raises(TrainingError, match="the model and the data do not suit each other"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch):
    healthy = torch.optim.AdamW.step

    def step(self, *arguments, **options):
        healthy(self, *arguments, **options)
        for group in self.param_groups:
            for weights in group["params"]:
                weights.data *= math.inf

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(TrainingError, match="not a number any more"):
        train(replace(TINY, steps=1), tmp_path)
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / FILE).values())
    assert not (tmp_path / "metrics.json").exists()


def test_a_disk_that_is_full_at_the_end_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for module, name in ((log, "draw_curves"), (checkpoint, "write_json")):  # for curves.png, and for model/
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left on device"):
            patch.setattr(module, name, full)
            train(TINY, tmp_path / "run")
        assert {path.name for path in (tmp_path / "run").iterdir()} <= {".lock", FILE, "log.jsonl", "curves.png"}
    assert train(TINY, tmp_path / "run")["test_accuracy"] > 0


@pytest.mark.parametrize("left", [{"WORLD_SIZE": "2"}, {"LOCAL_RANK": "0", "WORLD_SIZE": "1", "RANK": "0"}])
def test_variables_that_another_program_has_left_are_named(left, tmp_path, monkeypatch):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="no launcher has started it"):
        train(TINY, tmp_path / "run")


def test_a_run_is_published_where_nothing_is_overwritten(finished, tmp_path):
    before = contents(finished)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my own")
    (tmp_path / "file").write_text("my own")
    for folder in (finished, finished / "model", tmp_path / "mine", tmp_path / "file"):
        done = CliRunner().invoke(app, ["publish", str(finished), str(folder)])
        assert done.exit_code == 1 and done.output.startswith("Error: ") and str(folder) in done.output
    assert (tmp_path / "mine" / "README.md").read_text() == (tmp_path / "file").read_text() == "my own"
    assert contents(finished) == before


def test_metrics_that_lack_or_misstate_something_are_named(finished, tmp_path):
    path, folder = finished / "metrics.json", tmp_path / "published"
    metrics = json.loads(path.read_text())
    for change, act, words in (
        ({"data": {}}, lambda: publish(finished, folder), "damaged: it lacks 'test'"),
        ({"operations": None}, lambda: publish(finished, folder), "an entry is of another kind than a run writes"),
        ({"recipe": {}}, lambda: train(TINY, finished), "holds a run with name = None, but now it is 'tiny'"),
    ):
        path.write_text(json.dumps(metrics | change))
        with pytest.raises(TrainingError, match=words):
            act()
    assert not folder.exists()


def test_what_a_caller_gets_wrong_is_named(finished, tmp_path):
    assert train(TINY, str(finished)) == train(TINY, finished)
    publish(str(finished), str(tmp_path / "published"))
    assert (tmp_path / "published" / "README.md").exists()
    for call, words in (
        (lambda: train("digits", tmp_path), "what is trained is a Recipe"),
        (lambda: train(TINY, None), "None is no path"),
        (lambda: publish(finished, 3), "3 is no path"),
        (lambda: read_recipe(None), "None is no path"),
        (lambda: read_recipe("digits", steps="50"), "steps is '50', but it must be a whole number"),
    ):
        with pytest.raises(TrainingError, match=words):
            call()


def test_results_need_a_place_before_the_training(tmp_path):
    (tmp_path / "file").write_text("x")
    done = CliRunner().invoke(
        app, ["results", "digits", "--runs", str(tmp_path / "r"), "--out", str(tmp_path / "file")]
    )
    assert done.exit_code == 1 and f"{tmp_path / 'file'}" in done.output and not (tmp_path / "r").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "dangling", "loop", "n" * 300])
def test_a_place_that_can_be_no_folder_is_named_before_the_data_are_read(place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr(loop, "load", lambda **options: pytest.fail("the data were read"))
    done = CliRunner().invoke(app, ["train", "digits", "--out", str(tmp_path / place)])
    assert done.exit_code == 1 and done.output.startswith(f"Error: {tmp_path / place} cannot be read or written: ")


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(half):
    (half / FILE).chmod(0)
    program = (
        "from tests.training.test_run import *\n"
        "with pytest.raises(PermissionError, match='Permission denied'): train(TINY, Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(half)]
    if os.geteuid() == 0:  # who may read everything
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
