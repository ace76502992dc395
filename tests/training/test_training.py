"""The training loop: it learns, survives every kind of end, and says in a sentence what went wrong."""

import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from vitlab import training
from vitlab.cli import app, in_a_sentence
from vitlab.data import IGNORE, load
from vitlab.decoder import upsampled_cross_entropy
from vitlab.training import Recipe, TrainingError, loop, read_recipe, recipe_names, train
from vitlab.training.augment import ImageAugmentation
from vitlab.training.batches import Batches
from vitlab.training.checkpoint import FILE, read_state
from vitlab.training.evaluation import evaluate_checkpoint
from vitlab.training.log import read_log
from vitlab.training.loop import loss_of
from vitlab.training.model_card import card
from vitlab.training.optimization import learning_rate_factor, parameter_groups, update_average
from vitlab.training.recipe import as_content, augmentation_of, build_model
from vitlab.training.run import same_run
from vitlab.vit import ViT, ViTConfig

# A ViT that is too small to be good and takes a second, with everything that draws random numbers.
TINY = """
steps = {steps}
batch_size = 64
lr = 1e-2
average = 0.9
warmup_steps = 5
evaluations = 2
[data]
name = "digits"
[model]
kind = "ViT"
depth = 2
d = 16
num_heads = 2
patch_size = 4
image_size = 8
channels = 1
drop_path = {drop_path}
[augmentation]
crop_padding = 1
mixup = 0.2
"""
SMALL_SEGFORMER = {
    "kind": "SegFormer",
    "C": 16,
    "encoder": {
        "d": (8, 16),
        "depths": (1, 1),
        "num_heads": (1, 2),
        "sr_ratios": (2, 1),
        "kernel_sizes": (3, 3),
        "strides": (2, 2),
    },
}


def tiny(folder: Path, *, steps: int = 60, drop_path: float = 0.2) -> Recipe:
    path = folder / "tiny.toml"
    path.write_text(TINY.format(steps=steps, drop_path=drop_path))
    return read_recipe(str(path))


def small_segmentation(**changes) -> Recipe:
    data = {"name": "shapes", "images": 16, "test_images": 4, "size": 32}
    return Recipe("small", data, SMALL_SEGFORMER, **({"steps": 6, "batch_size": 4, "lr": 1e-3} | changes))


def run_alone(recipe: Recipe, folder: Path) -> None:
    torch.set_num_threads(1)
    train(recipe, folder, checkpoint_seconds=0.05)


def test_a_vit_learns_the_digits(tmp_path):
    metrics = train(tiny(tmp_path, steps=300, drop_path=0.0), tmp_path / "run")
    assert metrics["test_accuracy"] > 0.5  # by chance it would be 0.1
    assert metrics["seed"] == 0 and metrics["data"]["train"] == 1437
    assert metrics["where"]["device"] and metrics["where"]["commit"]
    lines = read_log(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(3, 301, 3))
    tests = [line for line in lines if "test_accuracy" in line]
    assert [line["step"] for line in tests] == [150, 300]
    curve = [{name: line[name] for name in ("step", "seconds", "test_accuracy")} for line in tests]
    assert metrics["curve"] == curve and 0 < curve[0]["seconds"] < curve[1]["seconds"] == metrics["seconds"]
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_segformer_learns_shapes(tmp_path):
    metrics = train(small_segmentation(steps=40, lr=1e-2), tmp_path)
    lines = read_log(tmp_path)
    assert lines[-1]["loss"] < lines[0]["loss"] * 0.8
    assert set(metrics["test_iou"]) == set(load("shapes", images=1, test_images=1).classes)


def start(recipe: Recipe, folder: Path) -> multiprocessing.Process:
    """Train in a process of its own, which can be killed."""
    context = multiprocessing.get_context("forkserver")
    slow_to_import = ["vitlab.training", "vitlab.data.digits", "matplotlib.figure", "torch._dynamo", __name__]
    context.set_forkserver_preload(slow_to_import)
    process = context.Process(target=run_alone, args=(recipe, folder))
    process.start()
    return process


def without_times(folder: Path) -> list[dict]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read_log(folder)]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    """A run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(tiny(folder), folder / "run")
    process.join()
    assert process.exitcode == 0
    return folder / "run"


@pytest.mark.parametrize("once", range(10))
def test_a_killed_run_ends_with_the_same_bits(once, whole_run, tmp_path):
    recipe, folder = tiny(tmp_path), tmp_path / "run"
    killed, log = start(recipe, folder), folder / "log.jsonl"
    chance = random.Random(once)
    steps = chance.randrange(1, 50)
    while not (log.exists() and log.read_text().count("\n") >= steps):
        assert killed.is_alive(), "it ended before it could be killed"
        time.sleep(0.001)
    time.sleep(chance.random() * 0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    again = start(recipe, folder)
    again.join()
    assert again.exitcode == 0

    expected, found = load_file(whole_run / FILE), load_file(folder / FILE)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    assert without_times(whole_run) == without_times(folder)


def test_two_processes_give_the_losses_of_one(tmp_path):
    # Without stochastic depth: each process draws its own, as several GPUs do.
    tiny(tmp_path, steps=20, drop_path=0.0)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    for processes in (1, 2):
        # What `accelerate launch` starts for several GPUs; on a processor it would start them by MPI instead.
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "vitlab"]
        command += ["train", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / str(processes))]
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    one, two = (read_log(tmp_path / folder) for folder in ("1", "2"))
    assert json.loads((tmp_path / "2" / "metrics.json").read_text())["processes"] == 2
    assert [line["loss"] for line in one] == pytest.approx([line["loss"] for line in two], rel=1e-4)
    assert one[-1]["test_accuracy"] == pytest.approx(two[-1]["test_accuracy"], abs=0.01)


def test_without_biases_in_attention_they_are_zeros_in_the_file_and_nothing_else_stays(tmp_path):
    recipe = small_segmentation(attention_biases=False)
    first = dict(build_model(recipe, load(**recipe.data)).named_parameters())
    train(recipe, tmp_path)
    trained = load_file(tmp_path / "checkpoint.safetensors")
    for name, parameter in first.items():
        of_attention = name.endswith(("query.bias", "key.bias", "value.bias", "output.bias"))
        assert parameter.requires_grad != of_attention
        assert torch.equal(trained[f"model.{name}"], parameter) == of_attention, name
        assert not of_attention or not parameter.any()


def test_a_run_goes_on_although_recipes_have_more_entries_by_now(tmp_path):
    recipe = tiny(tmp_path)
    before = as_content(recipe)
    del before["bf16"]
    same_run(tmp_path, before, recipe)
    with pytest.raises(TrainingError, match="holds a run with bf16 = False, but now it is True"):
        same_run(tmp_path, before, replace(recipe, bf16=True))


def test_a_model_is_built_without_a_change_to_its_recipe():
    recipe = small_segmentation()
    before = as_content(recipe)
    build_model(recipe, load(**recipe.data))
    assert as_content(recipe) == before  # a run that was begun with it goes on with it


def test_what_only_a_vit_can_do_is_not_asked_of_another():
    recipe = small_segmentation(first_weights="neighbours")
    with pytest.raises(TrainingError, match="is for a ViT"):
        build_model(recipe, load(**recipe.data))


def test_a_processor_trains_in_bfloat16_on_a_part_of_the_patches_where_the_recipe_says_so(tmp_path):
    recipe = tiny(tmp_path, steps=100, drop_path=0.0)
    usual = train(recipe, tmp_path / "usual")
    changed = train(replace(recipe, bf16=True, patch_dropout=0.5), tmp_path / "changed")
    losses = [[line["loss"] for line in read_log(tmp_path / name)] for name in ("usual", "changed")]
    assert losses[0] != losses[1] and losses[1][-1] < losses[1][0] * 0.8
    assert changed["test_accuracy"] > 0.2 and usual["test_accuracy"] > 0.2  # by chance it would be 0.1
    assert load_file(tmp_path / "changed" / "checkpoint.safetensors")["model.head.weight"].dtype == torch.float32


def test_an_epoch_takes_every_image_once():
    recipe = Recipe("r", {}, {}, steps=10, batch_size=100, lr=1.0)
    dataset = load("digits")
    batches = Batches(recipe, dataset, augmentation_of(recipe, False))
    indices = torch.cat([torch.from_numpy(batches.indices(step)) for step in range(29)])
    n = len(dataset.train)
    assert sorted(indices[:n].tolist()) == sorted(indices[n : 2 * n].tolist()) == list(range(n))
    assert indices[:n].tolist() != indices[n : 2 * n].tolist()


def test_processes_share_the_batch():
    recipe = Recipe("r", {}, {}, steps=10, batch_size=8, lr=1.0, augmentation={"crop_padding": 1, "mixup": 0.5})
    dataset = load("digits")
    augmentation = augmentation_of(recipe, False)
    images, targets = Batches(recipe, dataset, augmentation)(3)
    parts = [Batches(recipe, dataset, augmentation, rank, 2)(3) for rank in range(2)]
    assert torch.equal(images, torch.cat([part[0] for part in parts]))
    assert torch.equal(targets, torch.cat([part[1] for part in parts]))
    with pytest.raises(TrainingError, match=r"batch_size is 8, but .* must be a multiple of 6"):
        Batches(recipe, dataset, augmentation, 0, 3)
    with pytest.raises(TrainingError, match="there are only 1437 images"):
        Batches(Recipe("r", {}, {}, 1, 2000, 1.0), dataset, augmentation)


@pytest.mark.parametrize("schedule, middle", [("cosine", 0.5), ("poly", 0.5)])
def test_the_learning_rate_rises_and_falls(schedule, middle):
    recipe = Recipe("r", {}, {}, steps=110, batch_size=2, lr=1.0, warmup_steps=10, schedule=schedule)
    factors = [learning_rate_factor(step, recipe) for step in range(110)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1 and factors[60] == pytest.approx(middle) and 0 < factors[-1] < 0.02
    assert factors[10:] == sorted(factors[10:], reverse=True)
    quarter = (1 + math.cos(math.pi / 4)) / 2 if schedule == "cosine" else 0.75
    assert factors[35] == pytest.approx(quarter)
    twice = replace(recipe, steps=220, cycles=2)
    assert [learning_rate_factor(step, twice) for step in range(220)] == factors * 2
    uneven = replace(recipe, steps=219, cycles=2)
    assert [learning_rate_factor(step, uneven) for step in range(219)] == (factors * 2)[:-1]


def test_each_layer_has_its_learning_rate_and_decay(tmp_path):
    recipe = tiny(tmp_path)
    recipe = Recipe(**(vars(recipe) | {"lr": 1.0, "layer_lr_decay": 0.5, "head_lr_factor": 10.0}))
    model = build_model(recipe, load("digits"))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group["peak_lr"], group["weight_decay"])
        for group in parameter_groups(model, recipe)
        for parameter in group["params"]
    }
    assert len(found) == len(names)
    assert found["embeddings.class_embedding"] == (0.125, 0)
    assert found["embeddings.position_embedding"] == (0.125, 0)
    assert found["encoder.blocks.0.attention.query.weight"] == (0.25, 0.05)
    assert found["encoder.blocks.1.ffn.expand.bias"] == (0.5, 0)
    assert found["encoder.norm.gamma"] == (0.5, 0)
    assert found["head.weight"] == (10, 0.05)


def test_the_average_follows_the_weights():
    model, average = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    with torch.no_grad():
        model.weight.fill_(3.0)
    model.num_batches_tracked += 7
    update_average(average, model, keep=0.75, step=1000)
    assert average.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert average.num_batches_tracked == 7
    update_average(average, model, keep=0.999, step=0)  # at first it keeps a tenth
    assert average.weight.item() == pytest.approx(0.1 * 1.5 + 0.9 * 3)


def test_a_loss_that_is_no_number_is_explained_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    recipe = tiny(tmp_path, steps=20)
    healthy = Batches.__call__

    def call(self, step):
        images, targets = healthy(self, step)
        return (images * math.inf if step >= 10 else images), targets

    monkeypatch.setattr(Batches, "__call__", call)
    with pytest.raises(TrainingError, match=r"not a number any more, 11 steps after .* \(--lr 0.003\)"):
        train(recipe, tmp_path / "run", checkpoint_seconds=0)
    assert all(t.isfinite().all() for t in load_file(tmp_path / "run" / FILE).values())


def test_a_batch_without_a_pixel_that_counts_counts_for_nothing():
    logits, masks = torch.randn(4, 3, 5, 5, requires_grad=True), torch.randint(0, 3, (4, 9, 9))
    masks[0, 0] = masks[2:] = IGNORE

    class Processes:
        """As many processes as parts of the batch, each of which has the mean of what all have."""

        def __init__(self, parts: int):
            self.mean = (masks != IGNORE).sum().float() / parts

        def reduce(self, counted: torch.Tensor, how: str) -> torch.Tensor:
            return self.mean

    whole = loss_of(logits, masks, Processes(1))
    assert whole == upsampled_cross_entropy(logits, masks, IGNORE)
    parts = [loss_of(logits[i : i + 2], masks[i : i + 2], Processes(2)) for i in (0, 2)]
    assert parts[1] == 0 and torch.isclose(sum(parts) / 2, whole)
    (gradient,) = torch.autograd.grad(parts[1], logits)
    assert (gradient == 0).all()
    masks[:] = IGNORE
    assert loss_of(logits, masks, Processes(1)) == 0


def test_what_does_not_fit_is_found_before_the_first_step(tmp_path, monkeypatch):
    def expect(recipe: Recipe, sentence: str) -> None:
        with pytest.raises(TrainingError, match=sentence):
            train(recipe, tmp_path / "run")
        assert not (tmp_path / "run" / "log.jsonl").exists()

    expect(small_segmentation(augmentation={"crop": (2, 2)}), "do not suit each other: .* must be at least 3")
    scenes = load("shapes", images=4, test_images=2, size=32)
    expect(small_segmentation(augmentation={"crop": (32, 4096)}), "crop is 32 x 4096, but the images fill 32 x 32 at")
    late = replace(
        scenes.test, images=[scenes.test.images[0], scenes.test.images[1][:, :2]], labels=[*scenes.test.labels]
    )
    monkeypatch.setattr(loop, "load", lambda **options: replace(scenes, test=late))
    expect(small_segmentation(), "do not suit each other: the images are 2 x 32 pixels")
    several = replace(scenes.train, images=[*scenes.train.images[:3], scenes.train.images[3][:, :16]])
    monkeypatch.setattr(loop, "load", lambda **options: replace(scenes, train=several))
    expect(small_segmentation(batch_size=2), "the images have several sizes: give a crop")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=str,
)
def test_too_little_memory_is_explained(error, tmp_path, monkeypatch):
    def call(self, step):
        raise error

    monkeypatch.setattr(Batches, "__call__", call)
    with pytest.raises(TrainingError, match="too small for 64 images at a time: try --batch-size 32"):
        train(tiny(tmp_path), tmp_path / "run")


@pytest.mark.parametrize(
    "batch_size, processes, sentence",
    [
        (2, 1, "2 images at a time: smaller images or a smaller model"),
        (6, 1, "6 images at a time: try --batch-size 2,"),
        (12, 2, "6 images at a time: try --batch-size 4,"),
        (20, 1, "20 images at a time: try --batch-size 10,"),
    ],
)
def test_the_advised_batch_can_be_split(batch_size, processes, sentence):
    recipe = Recipe("r", {}, {}, steps=10, batch_size=batch_size, lr=1.0)
    with pytest.raises(TrainingError, match=sentence), loop.explained(recipe, torch.device("cpu"), processes):
        raise MemoryError
    if advised := re.search(r"--batch-size (\d+)", sentence):
        Batches(replace(recipe, batch_size=int(advised[1])), load("digits"), ImageAugmentation(), 0, processes)


def test_a_run_goes_on_where_gradients_are_scaled_and_where_not_whatever_it_began_with(tmp_path, monkeypatch):
    recipe, saved = tiny(tmp_path, steps=10), loop.save_state

    def killed(*arguments):
        saved(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run")
    model = build_model(recipe, load("digits"))
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe))
    state, _ = read_state(tmp_path / "run")

    def go_on(scaler: torch.amp.GradScaler | None) -> None:
        one = SimpleNamespace(scaler=scaler)
        loop.resume(recipe, tmp_path / "run", state["data"], model, deepcopy(model), optimizer, one)

    def scaler(scale: float) -> torch.amp.GradScaler:
        return torch.amp.GradScaler("cpu", init_scale=scale)

    go_on(None)
    go_on(begun := scaler(8.0))
    assert begun.state_dict()["scale"] == 8
    saved(tmp_path / "run", model, deepcopy(model), optimizer, state | {"scaler": scaler(2.0).state_dict()})
    go_on(None)
    go_on(begun)
    assert begun.state_dict()["scale"] == 2


def test_a_full_disk_is_explained_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    recipe, written = tiny(tmp_path, steps=10), []

    def save(tensors, path, metadata):
        if len(written) == 3:
            Path(path).write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        written.append(save_file(tensors, path, metadata))

    monkeypatch.setattr("safetensors.torch.save_file", save)
    with pytest.raises(OSError, match="No space left") as raised:
        train(recipe, tmp_path / "run", checkpoint_seconds=0)
    assert in_a_sentence(raised.value) == (
        f"{tmp_path / 'run' / FILE} cannot be read or written: No space left on device. Please make room, then give "
        "the same command again."
    )
    monkeypatch.undo()
    assert train(recipe, tmp_path / "run")["test_accuracy"] > 0
    assert [line["step"] for line in read_log(tmp_path / "run")] == list(range(1, 11))


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("lr = 1e-2", "learning_rate = 1e-2", "an entry 'learning_rate' that nobody reads"),
        ("warmup_steps", "warm_up_steps", "did you mean 'warmup_steps'"),
        ("lr = 1e-2", "", "has no 'lr'"),
        ("steps = 60", 'steps = "60"', "steps is '60', but it must be a whole number"),
        ("steps = 60", "steps = 0", "steps is 0, but it must be 1 or more"),
        ("warmup_steps = 5", "warmup_steps = 60", "from 0 to below the 60 steps"),
        ("warmup_steps = 5", "warmup_steps = 30\ncycles = 2", "from 0 to below the 30 steps of a cycle"),
        ("evaluations = 2", 'schedule = "linear"', "must be 'cosine' or 'poly'"),
        ("steps = 60", "steps = ", "is no TOML file"),
        ('kind = "ViT"', 'kind = "ViTT"', "kind is 'ViTT', but it must be 'ViT', 'MiT', 'SegFormer', 'UNet' or 'CNN'"),
        ('kind = "ViT"', "", r"\[model\] of .* has no 'kind'"),
        ("num_heads = 2", "num_heads = 3", "makes no ViT: d = 16 is not a multiple of num_heads = 3"),
        ("num_heads = 2", "heads = 2", "has an entry 'heads' that nobody reads: did you mean 'num_heads'"),
        ("evaluations = 2", "patch_dropout = 1.0", "patch_dropout is 1.0, but it must be"),
        ("evaluations = 2", 'first_weights = "zero"', "must be 'random' or 'neighbours'"),
        ("crop_padding = 1", "croppadding = 1", "did you mean 'crop_padding'"),
        (
            'kind = "ViT"',
            'kind = "SegFormer"',
            "a SegFormer does not suit these data, .* one class each: choose ViT or MiT",
        ),
    ],
)
def test_a_wrong_recipe_is_explained(old, new, sentence, tmp_path):
    text = TINY.format(steps=60, drop_path=0)
    assert old in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TrainingError, match=sentence):
        train(read_recipe(str(path)), tmp_path / "run")


def test_with_other_steps_the_warm_up_keeps_its_share():
    whole = read_recipe("digits")
    assert (whole.steps, whole.warmup_steps) == (1000, 100)
    for steps, warmup_steps in ((50, 5), (9, 0), (1, 0), (3000, 300)):
        assert read_recipe("digits", steps=steps).warmup_steps == warmup_steps
    assert read_recipe("digits", steps=50, warmup_steps=7).warmup_steps == 7
    assert read_recipe("digits", steps=None, lr=1.0).warmup_steps == 100
    with pytest.raises(TrainingError, match="warmup_steps is 60, but it must be from 0 to below the 50 steps"):
        read_recipe("digits", steps=50, warmup_steps=60)
    with pytest.raises(TrainingError, match="steps is 0, but it must be 1 or more"):
        read_recipe("digits", steps=0)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_shortened(name):
    assert read_recipe(name, steps=2).steps == 2


def test_the_command_trains_the_digits_for_fifty_steps(tmp_path):
    done = CliRunner().invoke(app, ["train", "digits", "--steps", "50", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    rates = {line["step"]: line["lr"] for line in read_log(tmp_path)}
    assert len(rates) == 50 and max(rates.values()) == rates[5] == rates[6] == 2e-3


def test_every_recipe_of_the_package_can_be_read():
    for name in recipe_names():
        assert read_recipe(name).name == name
    with pytest.raises(TrainingError, match=r"there is no recipe 'digit': give a TOML file, or one of .*digits"):
        read_recipe("digit")


def test_the_command_trains_evaluates_and_predicts(tmp_path):
    tiny(tmp_path, steps=20)
    runner = CliRunner()
    run = tmp_path / "run"
    done = runner.invoke(app, ["train", str(tmp_path / "tiny.toml"), "--out", str(run)])
    assert done.exit_code == 0, done.output
    score = f"test accuracy {json.loads((run / 'metrics.json').read_text())['test_accuracy']:.2%}"
    assert score in done.output
    done = runner.invoke(app, ["evaluate", str(run), "digits"])
    assert done.output.strip() == score

    from PIL import Image

    Image.fromarray(load("digits").test.images[0, 0].numpy()).save(tmp_path / "digit.png")
    done = runner.invoke(app, ["predict", str(run), str(tmp_path / "digit.png")])
    assert done.exit_code == 0 and len(done.output.splitlines()) == 5

    for arguments, sentence in (
        (["predict", str(run), str(tmp_path / "tiny.toml")], "cannot be read as a picture"),
        (["evaluate", str(run), "shapes"], "tells classes of whole images, but shapes has those of single pixels"),
        (["evaluate", str(run), "digit"], "no recipe 'digit'"),
        (["train", "digit"], "no recipe 'digit'"),
        (["evaluate", str(tmp_path), "digits"], "has no config.json"),
    ):
        done = runner.invoke(app, arguments)
        assert done.exit_code == 1 and sentence in done.output and "Traceback" not in done.output


def test_the_card_of_a_data_set_is_shown():
    done = CliRunner().invoke(app, ["data", "digits"])
    assert done.exit_code == 0, done.output
    for line in ("licence: CC BY 4.0", "classes: 0, 1, 2, ", "here: 1,437 images to train on, 360 to test on"):
        assert line in done.output
    done = CliRunner().invoke(app, ["data", "digit"])
    assert done.exit_code == 1 and "no recipe 'digit'" in done.output


def test_a_run_is_published_with_a_card(tmp_path):
    metrics = train(tiny(tmp_path, steps=20), tmp_path / "run")
    done = CliRunner().invoke(app, ["publish", str(tmp_path / "run"), str(tmp_path / "tiny-vit")])
    assert done.exit_code == 0, done.output
    tensors = load_file(tmp_path / "tiny-vit" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    text = (tmp_path / "tiny-vit" / "README.md").read_text()
    assert f"test accuracy: {metrics['test_accuracy']:.2%}" in text and "CC BY 4.0" in text
    rounded = evaluate_checkpoint(str(tmp_path / "tiny-vit"), "digits")["test_accuracy"]
    assert rounded == pytest.approx(metrics["test_accuracy"], abs=0.02)
    done = CliRunner().invoke(app, ["publish", str(tmp_path), str(tmp_path / "nothing")])
    assert done.exit_code == 1 and "holds no finished run" in done.output
    assert not (tmp_path / "nothing").exists()


def test_a_segmentation_is_drawn_over_the_picture(tmp_path):
    from PIL import Image

    train(small_segmentation(), tmp_path / "run")
    Image.fromarray(load("shapes", images=1, test_images=1).train.images[0].permute(1, 2, 0).numpy()).save(
        tmp_path / "scene.png"
    )
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(tmp_path / "scene.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "scene-classes.png").read_bytes().startswith(b"\x89PNG")
    assert "%" in done.output


def test_without_arguments_the_digits_are_trained(monkeypatch, tmp_path):
    trained = []

    def instead(recipe, folder):
        trained.append((recipe, folder))
        return {"test_accuracy": 1.0, "seconds": 0.0}

    monkeypatch.setattr(training, "train", instead)
    assert CliRunner().invoke(app, ["train"]).exit_code == 0
    assert trained == [(read_recipe("digits"), Path("runs/digits"))]


def test_a_published_encoder_with_a_pooler_is_fine_tuned_to_its_end(tmp_path):
    numbers = {name: value for name, value in tiny(tmp_path).model.items() if name != "kind"}
    ViT(ViTConfig(**numbers, num_classes=0, pooler=True)).save_pretrained(tmp_path / "published")
    recipe = replace(tiny(tmp_path, steps=6), model={"kind": "ViT", "pretrained": str(tmp_path / "published")})
    train(recipe, tmp_path / "run")
    assert ViT.from_pretrained(tmp_path / "run" / "model").config.num_classes == 10


def test_scenes_are_trained_on_whole_where_no_crop_is_wanted(tmp_path):
    assert train(small_segmentation(augmentation={"crop": None, "flip": True}), tmp_path)["operations"] > 0


def test_the_card_says_how_the_model_began(tmp_path):
    metrics = train(tiny(tmp_path, steps=6), tmp_path / "run")
    assert "trained from random weights by" in card("it", metrics)
    for entry, words in (("pretrained", "`a/b`, whose"), ("encoder_weights", "`a/b` in its encoder, whose licence")):
        metrics["recipe"]["model"] = {"kind": "SegFormer", entry: "a/b"}
        assert f"trained from the weights of {words}" in card("it", metrics)
