"""The edge of every command: one sentence for what a user can put right, and no waiting for torch without need."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from accelerate import PartialState
from PIL import Image, UnidentifiedImageError
from typer.testing import CliRunner

from vitlab import training
from vitlab.__main__ import main
from vitlab.cli import app, in_a_sentence
from vitlab.data import DataError


def denied(number: int):
    def cause() -> None:
        raise OSError(number, os.strerror(number), "a/file")

    return cause


def recursive() -> None:
    json.loads("[" * 100_000)


def full() -> None:
    raise RuntimeError("CUDA error: out of memory")


def bomb() -> None:
    raise Image.DecompressionBombError("too many pixels")


def unidentified() -> None:
    raise UnidentifiedImageError("cannot identify image file")


@pytest.mark.parametrize(
    "cause, sentence",
    [
        (
            lambda: Path("nowhere").read_text(),
            "nowhere cannot be read or written: No such file or directory. Please put",
        ),
        (
            denied(errno.EACCES),
            "a/file cannot be read or written: Permission denied. Please give access to it, then",
        ),
        (denied(errno.EROFS), "Read-only file system. Please choose another place, then give the same command again."),
        (lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x"), "No space left on device. Please make room, then"),
        (lambda: [0] * 10**15, "the memory of this machine is too small for that"),
        (full, "the memory of this machine is too small for that"),
        (recursive, "a file cannot be read, because it is damaged or of another kind: maximum recursion"),
        (lambda: json.loads("{"), "a file cannot be read, because it is damaged or of another kind: Expecting"),
        (bomb, "damaged or of another kind: too many pixels"),
        (unidentified, "damaged or of another kind: cannot identify image file"),
    ],
)
def test_what_a_user_can_put_right_is_a_sentence(cause, sentence, monkeypatch):
    monkeypatch.setattr(training, "read_recipe", lambda *arguments, **options: cause())
    done = CliRunner().invoke(app, ["train"])
    assert done.exit_code == 1 and sentence in done.output and len(done.output.splitlines()) == 1


def test_help_that_cannot_be_written_is_a_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vitlab", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "Error: the help cannot be written: No space left on device."
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("charset, shown", [("utf-8", "名"), ("ascii", "\\u540d")])
def test_what_is_printed_steers_no_terminal_and_suits_it(charset, shown, monkeypatch):
    fault = DataError(f"a name of \x1b]0;title\x07 {os.fsdecode(bytes([255]))} 名")
    monkeypatch.setattr(training, "read_recipe", lambda *arguments, **options: exec("raise fault", {"fault": fault}))
    done = CliRunner(charset=charset).invoke(app, ["train"])
    assert done.exit_code == 1 and done.output.endswith(f" \\x1b]0;title\\x07 \\udcff {shown}\n")


def test_figures_need_no_window(monkeypatch):
    seen = []
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    monkeypatch.setattr(training, "read_recipe", lambda *arguments, **options: seen.append(os.environ["MPLBACKEND"]))
    CliRunner().invoke(app, ["train"])
    assert seen == ["agg"]


def test_a_fault_of_the_program_is_not_hidden(monkeypatch):
    monkeypatch.setattr(training, "read_recipe", lambda *arguments, **options: {}["missing"])
    assert isinstance(CliRunner().invoke(app, ["train"]).exception, KeyError)
    assert in_a_sentence(OSError(errno.EPIPE, "Broken pipe")) is None  # typer ends quietly
    assert in_a_sentence(DataError("this and that.")) == "this and that."


def test_an_interruption_is_a_sentence(monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "read_recipe", interrupted)
    done = CliRunner().invoke(app, ["train"])
    assert done.exit_code == 130 and done.output.startswith("Interrupted. ")


def test_an_interruption_of_the_first_imports_says_no_more(monkeypatch):
    class Interrupted(ModuleType):
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "vitlab.cli", Interrupted("vitlab.cli"))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == "Interrupted."


def test_a_rank_left_over_by_another_program_hides_no_result(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(training, "train", lambda *arguments: {"test_accuracy": 0.5, "seconds": 1.0})
    PartialState._reset_state()
    done = CliRunner().invoke(app, ["train", "digits", "--out", str(tmp_path)])
    PartialState._reset_state()
    assert done.output.startswith("test accuracy 50.00% after 1 s; written to ")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]], ids=" ".join)
def test_help_waits_for_no_torch(arguments):
    program = (
        f"import sys; from vitlab.__main__ import main; sys.argv[1:] = {arguments}\n"
        "try: main()\nexcept SystemExit: print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Train a model" in done.stdout and done.stdout.endswith("False False\n")


@pytest.mark.parametrize("stream", [1, 2])
def test_a_service_has_no_streams(stream):
    command = f'exec "$0" -m vitlab data digits {stream}>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_a_folder_that_is_gone_is_named(tmp_path):
    (tmp_path / "gone").mkdir()
    program = (
        "import os, sys; os.rmdir(os.getcwd()); from vitlab.__main__ import main; sys.argv[1:] = ['train']; main()"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(training.__file__).parents[2])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path / "gone", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("Error: the working folder cannot be read"), done.stderr
