"""Files: whole or not at all, with the modes that the umask says."""

import os
from pathlib import Path

import pytest
import torch

from vitlab.files import folder_written_whole, read_tensors, remove_draft, write_json, write_tensors, written_whole


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="no room"), written_whole(path) as draft:
        draft.write_text("ne")
        raise OSError("no room")
    assert path.read_text() == "old"
    with written_whole(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_files_that_belong_together_come_together_and_leave_others_alone(tmp_path):
    (tmp_path / "one").write_text("old")
    (tmp_path / "other").write_text("kept")
    with pytest.raises(ZeroDivisionError), folder_written_whole(tmp_path) as draft:
        (draft / "one").write_text("new")
        1 / 0  # noqa: B018
    assert (tmp_path / "one").read_text() == "old"
    with folder_written_whole(tmp_path) as draft:
        for name in ("one", "two"):
            (draft / name).write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "new", "two": "new", "other": "kept"}
    assert not tmp_path.with_name(f"{tmp_path.name}.draft").exists()


def test_what_a_killed_process_leaves_is_removed(tmp_path):
    (tmp_path / "file.draft").mkdir()
    (tmp_path / "file.draft" / ".tmpAbCdEf").write_text("half")
    with written_whole(tmp_path / "file") as draft:
        assert list(draft.parent.iterdir()) == []
        draft.write_text("whole")
    (tmp_path / "model.draft").write_text("half, from an earlier version")
    remove_draft(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["file.draft", "file.draft/thesis"])
def test_what_happens_to_have_a_draft_s_name_is_left_alone(name, tmp_path):
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("my own")
    with pytest.raises(FileExistsError, match=r"file\.draft"), written_whole(tmp_path / "file"):
        pytest.fail("the work began")
    if own.parent != tmp_path:
        remove_draft(tmp_path / "file")
    assert own.read_text() == "my own"


def test_two_that_write_to_one_place_do_not_mix(tmp_path):
    path = tmp_path / "file"
    with written_whole(path) as draft:
        draft.write_text("the first one's")
        with pytest.raises(OSError, match="another process is writing it") as fault, written_whole(path):
            pytest.fail("both write")
        assert fault.value.filename == str(path)
    assert path.read_text() == "the first one's" and list(tmp_path.iterdir()) == [path]
    with written_whole(path) as draft:
        draft.write_text("the next one's")
    assert path.read_text() == "the next one's"


def test_a_place_that_cannot_be_written_is_found_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "below", Path(os.devnull)):
        with pytest.raises(OSError), written_whole(path):
            pytest.fail("the work began")
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_modes_are_those_of_the_umask(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        with folder_written_whole(tmp_path / "folder") as draft:
            write_tensors(draft / "tensors", {"a": torch.eye(2).T}, {"about": "b"})
            write_json(draft / "json", {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "folder").iterdir()} == {mode}
    tensors, about = read_tensors(tmp_path / "folder" / "tensors")
    assert torch.equal(tensors["a"], torch.eye(2)) and about == {"about": "b"}


def test_no_number_that_is_none_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", {"a": float("nan")})
    assert not list(tmp_path.iterdir())
