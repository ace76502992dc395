"""The benchmark's bookkeeping, on a machine that is made up; what it measures is not tested here."""

import json
import os

import pytest
import torch
from typer.testing import CliRunner

from vitlab.bench import models
from vitlab.bench.engines import ENGINES, exported
from vitlab.bench.measurement import MeasurementError, alone
from vitlab.cli import app
from vitlab.decoder import upsample

RATES = {"matrix_flop_per_s": 1e12, "copy_bytes_per_s": 1e10}


@pytest.fixture
def made_up(monkeypatch):
    """ViT only; every round of vitlab takes 1 s and of the others 3 s, and their memory is 1 and 4 bytes."""
    monkeypatch.setattr(models, "MODELS", {"ViT-B/16": 224})
    monkeypatch.setattr(models, "alone", lambda function, *arguments, **_: function(*arguments))
    monkeypatch.setattr(models, "machine_rates", lambda: RATES)
    monkeypatch.setattr(models, "task", lambda model, name, mode: (None, lambda: name))
    monkeypatch.setattr(models, "seconds", lambda work: 1.0 if work() == "vitlab" else 3.0)
    monkeypatch.setattr(models, "peak_memory", lambda model, name, mode: 1 if name == "vitlab" else 4)


def test_the_command_writes_ratios_floors_and_a_figure(made_up, tmp_path):
    result = CliRunner().invoke(app, ["bench", "--out", str(tmp_path), "--rounds", "3"])
    assert result.exit_code == 0, result.output
    assert "3.00 x transformers, 0.25 x its memory" in result.output
    written = json.loads((tmp_path / "throughput.json").read_text())
    for row, batch in zip(written["rows"], (1, 2), strict=True):
        assert (row["speed_ratio"], row["memory_ratio"]) == (3.0, 0.25)
        assert row["implementations"]["transformers"]["images_per_second"] == pytest.approx(batch / 3)
        assert row["implementations"]["vitlab"]["fraction_of_floor"] == row["floor"]["seconds"]
    assert {"device", "commit", "seed", "data", "torch"} <= set(written["where"])
    assert (tmp_path / "throughput.png").read_bytes().startswith(b"\x89PNG")


def test_where_nothing_can_be_written_nothing_is_measured(made_up, monkeypatch, tmp_path):
    (tmp_path / "a_file").touch()
    monkeypatch.setattr(models, "alone", lambda *_, **__: pytest.fail("measured in vain"))
    result = CliRunner().invoke(app, ["bench", "--out", str(tmp_path / "a_file" / "results")])
    assert result.exit_code != 0 and isinstance(result.exception, OSError | SystemExit)


def test_class_maps_are_measured_beside_the_engines_that_are_here(made_up, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "MODELS", {"SegFormer-B0": 64})
    said = []
    models.run(tmp_path, 3, say=said.append)
    row = json.loads((tmp_path / "throughput.json").read_text())["rows"][1]
    assert row["mode"] == "class maps" and ENGINES.keys() == {"ONNX Runtime", "OpenVINO"}
    engines = {f"{package}, {engine}": 3.0 for engine in ENGINES for package in ("vitlab", "transformers")}
    assert row["speed_ratios"] == {"transformers": 3.0} | engines
    assert row["implementations"]["vitlab, OpenVINO"]["peak_memory_bytes"] is None
    assert "3.00 x vitlab, ONNX Runtime" in said[1] and "3.00 x transformers, OpenVINO" in said[1]


def test_both_packages_give_the_class_of_every_pixel():
    for package in ("vitlab", "transformers"):
        net, scores, _ = models.build("SegFormer-B0", package)
        images = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            net.eval()
            expected = upsample(scores(images), (64, 96)).argmax(dim=1)
            assert torch.equal(models.class_maps(net, scores)(images), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_computes_what_the_model_does(engine):
    net = torch.nn.Conv2d(3, 5, 3)
    images = torch.randn(1, 3, 16, 20)
    found = exported(engine, net, lambda x: upsample(net(x), (16, 20)), images)()
    torch.testing.assert_close(torch.from_numpy(found), upsample(net(images), (16, 20)).detach(), rtol=1e-3, atol=1e-4)


def test_on_a_gpu_the_compiled_ones_are_measured_too(made_up, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "device", lambda: "cuda")
    monkeypatch.setattr(models, "where", dict)
    monkeypatch.setattr(models, "seconds", lambda work: {"vitlab": 1.0, "vitlab, compiled": 0.5}.get(work(), 2.0))
    monkeypatch.setattr(models, "peak_memory", lambda model, name, mode: 1 if name == "vitlab" else 2)
    said = []
    models.run(tmp_path, 3, say=said.append)
    assert "2.00 x transformers (4.00 x if both are compiled), 0.50 x its memory" in said[0]
    row = json.loads((tmp_path / "throughput-gpu.json").read_text())["rows"][0]
    assert set(row["implementations"]) >= {"vitlab", "vitlab, compiled", "transformers", "transformers, compiled"}
    assert row["batch"] == 32 and row["implementations"]["vitlab, compiled"]["images_per_second"] == 64
    assert (tmp_path / "throughput-gpu.png").exists()


@pytest.mark.parametrize("mode", models.MODES)
def test_a_compiled_model_and_bfloat16_do_the_same_work(mode, monkeypatch):
    monkeypatch.setattr(models, "MODELS", {"SegFormer-B0": 64})
    monkeypatch.setattr(models, "DTYPES", {"cpu": torch.bfloat16})  # here a processor plays the GPU
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or f)
    net, work = models.task("SegFormer-B0", "vitlab, compiled", mode)
    before = net.decoder.classify.weight.clone()
    work()
    assert len(compiled) == 2 and net.training == (mode == "training")
    assert torch.equal(before, net.decoder.classify.weight) == (mode != "training")


def test_the_floor_counts_the_operations_of_the_published_models():
    # 2 operations for each multiply-accumulate; ViT-B/16 has 17.6 GMAC (Dosovitskiy et al.'s model at 224), of which
    # the last block need not do the queries, the output projection and the FFN of its 196 patches: 10 d² each.
    assert models.floor("ViT-B/16", "inference", RATES)["flop"] == pytest.approx(
        2 * (17.56e9 - 196 * 10 * 768**2), rel=0.01
    )
    inference, training = (models.floor("SegFormer-B0", mode, RATES) for mode in ("inference", "training"))
    assert training["flop"] == pytest.approx(2 * 3 * inference["flop"], rel=0.05)  # two images, forward and backward
    assert training["bytes"] > 5 * inference["bytes"]


def test_every_implementation_is_built_with_the_same_number_of_parameters():
    for model in models.MODELS:
        names = models.implementations(model, "training")
        nets = [models.build(model, name)[0] for name in names]
        assert len({sum(p.numel() for p in net.parameters()) for net in nets}) == 1


def test_each_measurement_has_a_process_of_its_own():
    assert alone(os.getpid) != os.getpid()
    assert alone(os.getenv, "ASKED", ASKED="for") == "for"
    assert alone(models.peak_memory, "SegFormer-B0", "vitlab", "inference") > 10e6


def test_a_measurement_that_fails_says_which():
    with pytest.raises(MeasurementError, match=r"peak_memory\('SegFormer-B9', .*\) could not be measured: .*B9"):
        alone(models.peak_memory, "SegFormer-B9", "vitlab", "inference")
    with pytest.raises(MeasurementError, match=r"abort\(\) could not be measured: .+"):
        alone(os.abort)


def test_the_loop_is_measured_beside_a_plain_one(tmp_path):
    done = CliRunner().invoke(app, ["bench-loop", "digits", "--steps", "6", "--rounds", "1", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "loop.json").read_text())
    rates = {name: runs[0]["images_per_second"] for name, runs in written["loops"].items()}
    assert written["speed_ratio"] == pytest.approx(rates["vitlab"] / rates["plain"])
    assert written["recipe"]["augmentation"] == {"crop_padding": 1}
    assert 0 < written["matrix_share"]["vitlab"] < 1
    done = CliRunner().invoke(app, ["bench-loop", "shapes", "--out", str(tmp_path)])
    assert done.exit_code == 1 and "choose another" in done.output
