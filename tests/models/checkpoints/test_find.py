"""Paths, folders and globs: which files are one checkpoint, under which label and hash."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.models.checkpoint_files import labels, roles, touch, touch_all

from vae_batch.models.checkpoints import Checkpoint, find_checkpoints
from vae_batch.models.extractors.classifier import network_sha256
from vae_batch.models.extractors.weights.weight_file import inspect_weight_file
from vae_batch.models.formats.format import LoadOptions
from vae_batch.models.formats.load import load_networks
from vae_batch.models.inputs.files import read_head
from vae_batch.models.references.reference import open_reference
from vae_batch.plan import CheckpointError, InputError, Reading, read_toml


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for step in (2, 10, 1):
        touch(tmp_path / f"a/step-{step}/encoder.keras", f"e{step}")
        touch(tmp_path / f"a/step-{step}/decoder.keras", f"d{step}")
    touch(tmp_path / "b/epoch=7.keras")
    touch(tmp_path / "c/vae-encoder.keras")
    touch(tmp_path / "c/vae-decoder.keras")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a/step-1", "a/step-2", "a/step-10"]),  # by step, not by name
        ("a/*", ["a/step-1", "a/step-2", "a/step-10"]),
        ("a/step-2", ["a/step-2"]),
        ("a/*/encoder.keras", ["a/step-1", "a/step-2", "a/step-10"]),
        ("a/step-1?", ["a/step-10"]),
        ("a/step-[!1]", ["a/step-2"]),
        ("b/*.keras", ["b/epoch=7.keras"]),
        ("b/epoch=7.keras", ["b/epoch=7.keras"]),
        ("c/vae", ["c/vae"]),
        ("**/*.keras", ["a/step-1", "a/step-2", "b/epoch=7.keras", "a/step-10", "c/vae"]),
        ("*/vae-{step}", []),
    ],
)
def test_patterns(runs: Path, pattern: str, expected: list[str]) -> None:
    if expected:
        assert labels(runs, pattern) == expected
    else:
        with pytest.raises(InputError, match="no checkpoint matches"):
            labels(runs, pattern)


def test_uris_match_as_paths_do(runs: Path) -> None:
    found = find_checkpoints([f"{runs.as_uri()}/a/*"])
    assert [(c.step, sorted(dict(c.files))) for c in found] == [
        (step, ["decoder", "encoder"]) for step in (1, 2, 10)
    ]
    assert [c.sha256 for c in found] == [c.sha256 for c in find_checkpoints([str(runs / "a")])]


def test_one_checkpoint_named_twice_is_one(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(find_checkpoints([str(runs / "a"), str(runs / "a/step-2")])) == 3
    monkeypatch.chdir(runs)
    spellings = ["b", "./b/*.keras", "a/../b/epoch=7.keras", str(runs / "b"), (runs / "b").as_uri()]
    assert [c.label for c in find_checkpoints(spellings)] == ["b/epoch=7.keras"]
    halves = ["a/step-2/encoder.keras", str(runs / "a/step-2/decoder.keras")]
    (pair,) = find_checkpoints(halves)
    assert (pair.label, list(dict(pair.files))) == ("a/step-2", ["decoder", "encoder"])


def test_links_are_followed_once(runs: Path) -> None:
    (runs / "b/best.keras").symlink_to("epoch=7.keras")
    (runs / "a/latest").symlink_to("step-10")
    (runs / "a/circle").symlink_to("..")
    (runs / "a/itself").symlink_to("itself")
    assert labels(runs, "a", "b") == [
        "a/step-1", "a/step-2", "b/epoch=7.keras", "a/step-10", "a/circle/c/vae",
    ]  # fmt: skip
    assert labels(runs, "b/best.keras") == ["b/best.keras"]


def test_a_half_shared_by_link_stays_in_each_pair(runs: Path) -> None:
    (runs / "a/step-2/decoder.keras").unlink()
    (runs / "a/step-2/decoder.keras").symlink_to("../step-1/decoder.keras")
    assert roles(runs, "a")["a/step-2"] == {
        "encoder": "a/step-2/encoder.keras",
        "decoder": "a/step-2/decoder.keras",
    }


def test_a_half_alone_is_a_checkpoint(runs: Path) -> None:
    (runs / "a/step-2/decoder.keras").unlink()
    assert roles(runs, "a/step-2") == {"a/step-2": {"encoder": "a/step-2/encoder.keras"}}


def test_hash_is_of_content_not_of_place(runs: Path) -> None:
    (before,) = find_checkpoints([str(runs / "a/step-2")])
    (runs / "a/step-2").rename(runs / "a/step-3")
    (moved,) = find_checkpoints([str(runs / "a/step-3")])
    assert moved.sha256 == before.sha256
    touch(runs / "a/step-3/decoder.keras", "other")
    assert find_checkpoints([str(runs / "a/step-3")])[0].sha256 != before.sha256


def test_hashes_of_earlier_runs_stay(runs: Path) -> None:
    def of(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    (pair,) = find_checkpoints([str(runs / "a/step-2")])
    assert pair.sha256 == of(f"decoder:{of('d2')};encoder:{of('e2')};")
    (single,) = find_checkpoints([str(runs / "b")])
    assert single.sha256 == of(f"model:{of('x')};")
    assert single.identifier == f"epoch-7-keras-{single.sha256[:12]}"


def test_nothing_found_says_what_is_there(runs: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint matches .*holds epoch=7.keras"):
        find_checkpoints([str(runs / "b/*.h5")])
    with pytest.raises(InputError, match=r"nowhere/x does not exist; .*/ holds a, b, c$"):
        find_checkpoints([str(runs / "nowhere/x")])
    touch_all(runs / "many", " ".join(f"{i:02}.txt" for i in range(11)))
    with pytest.raises(InputError, match=r"06.txt, 07.txt and 3 more$"):
        find_checkpoints([str(runs / "many")])


def test_nothing_found_names_what_people_take_for_a_checkpoint(tmp_path: Path) -> None:
    touch_all(tmp_path, "t/checkpoint t/ckpt-7.index t/ckpt-7.data-00000-of-00001")
    with pytest.raises(InputError, match=r"ckpt-7.data-\S+ is a part of a TensorFlow checkpoint"):
        find_checkpoints([str(tmp_path / "t")])
    (tmp_path / "p").mkdir()
    (tmp_path / "p/vae.pt").write_bytes(b"\x80\x04\x95")
    with pytest.raises(InputError, match=r"holds vae.pt; .*vae.pt is a pickle"):
        find_checkpoints([str(tmp_path / "p")])


def test_saved_model_folders_are_one_checkpoint_each(tmp_path: Path) -> None:
    touch_all(tmp_path, "s/3/saved_model.pb s/3/variables/variables.index s/3/assets/words.h5")
    touch_all(tmp_path, "s/3/inner/saved_model.pb s/4/saved_model.pb")
    expected = {"s/3": {"model": "s/3"}, "s/4": {"model": "s/4"}}
    for pattern in ("s", "s/*", "s/**", "s/*/saved_model.pb", "s/{step}"):
        assert roles(tmp_path, pattern) == expected, pattern
    assert [c.step for c in find_checkpoints([str(tmp_path / "s")])] == [3, 4]
    by_uri = find_checkpoints([f"{tmp_path.as_uri()}/s/*"])
    assert [c.sha256 for c in by_uri] == [c.sha256 for c in find_checkpoints([str(tmp_path / "s")])]


def test_hash_of_a_folder_is_of_names_and_contents(tmp_path: Path) -> None:
    def sha256() -> str:
        (found,) = find_checkpoints([str(tmp_path / "s")])
        return found.sha256

    touch_all(tmp_path / "s", "saved_model.pb variables/variables.index")
    first = sha256()
    touch(tmp_path / "s/.DS_Store")
    assert sha256() == first
    (tmp_path / "s/variables/variables.index").rename(tmp_path / "s/variables/other")
    renamed = sha256()
    touch(tmp_path / "s/saved_model.pb", "changed")
    assert len({first, renamed, sha256()}) == 3


def test_a_scan_takes_known_suffixes_and_no_hidden_files(tmp_path: Path) -> None:
    touch_all(tmp_path, "a.keras b.h5 c.hdf5 d.weights.h5 E.KERAS log.txt f.pt .g.keras .h/i.keras")
    expected = ["E.KERAS", "a.keras", "b.h5", "c.hdf5", "d.weights.h5"]
    assert labels(tmp_path, "") == expected
    assert labels(tmp_path, "*") == expected


def test_a_file_named_in_full_is_never_refused(tmp_path: Path) -> None:
    touch_all(tmp_path, "f.pt odd vae[1].keras vae{2}.keras encoder.bin")
    (tmp_path / "gone.keras").symlink_to("nowhere")
    for name in ("f.pt", "odd", "vae[1].keras", "vae{2}.keras", "gone.keras"):
        assert labels(tmp_path, name) == [name]
    assert labels(tmp_path, "*.pt") == ["f.pt"]
    assert roles(tmp_path, "encoder.bin") == {str(tmp_path): {"encoder": "encoder.bin"}}


def test_broken_links_have_hashes_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vae.keras").symlink_to("nowhere")
    one, other = find_checkpoints([str(tmp_path)])
    assert one.identifier != other.identifier


def test_a_step_is_captured_by_a_pattern(tmp_path: Path) -> None:
    touch_all(tmp_path, "z16-e5.keras z16-e12.keras z16-ex.keras")
    found = find_checkpoints([str(tmp_path / "z16-e{step}.keras")])
    assert [c.step for c in found] == [5, 12]
    touch_all(tmp_path, "7/vae-7.keras 7/vae-8.keras 9/vae-9.keras")
    found = find_checkpoints([str(tmp_path / "{step}/vae-{step}.keras")])
    assert [c.step for c in found] == [7, 9]


@pytest.mark.parametrize("pattern", ["vae-{epoch:02d}.keras", "vae-{}.keras"])
def test_other_braces_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError, match=r"holds \{.*\}, but \{step\} is the only name"):
        find_checkpoints([str(tmp_path / pattern)])


def test_a_name_that_no_table_can_hold_costs_its_own_row(tmp_path: Path) -> None:
    touch_all(tmp_path, "b.keras")
    odd = tmp_path / os.fsdecode(b"run-\xff") / "vae.keras"
    try:
        odd.parent.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    odd.write_text("x")
    found = {c.label: c for c in find_checkpoints([str(tmp_path)])}
    label = f"{tmp_path}/run-\\xff/vae.keras"
    assert set(found) == {label, f"{tmp_path}/b.keras"}
    with pytest.raises(CheckpointError, match=r"run-.*xff.* is not UTF-8 text; rename"):
        load_networks(dict(found[label].files), LoadOptions(Reading(), False, 1 << 30))


def test_a_label_holds_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "a\n\x1b[2Jb.keras").write_text("x")
    (found,) = find_checkpoints([str(tmp_path)])
    assert found.label == f"{tmp_path}/a\\u{{a}}\\u{{1b}}[2Jb.keras"


def test_a_thousand_pairs_are_found_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in range(1000):
        folder = tmp_path / f"step-{step}"
        folder.mkdir()
        for half in ("encoder", "decoder"):
            (folder / f"{half}.keras").touch()
    found = find_checkpoints([str(tmp_path)])
    assert [c.step for c in found] == list(range(1000))


def test_tensorflow_is_not_loaded(runs: Path) -> None:
    code = (
        "import sys; from vae_batch.models.checkpoints import find_checkpoints; "
        "print(len(find_checkpoints(sys.argv[1:])), {'tensorflow', 'keras'} & set(sys.modules))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(runs)], capture_output=True, text=True, cwd=root
    )
    assert done.stdout.split("\n")[0] == "5 set()", done.stderr


def test_the_head_is_read_of_paths_and_uris(tmp_path: Path) -> None:
    path = Path(touch(tmp_path / "a b=1.keras", "content"))
    assert read_head(str(path)) == read_head(path.as_uri()) == b"content"
    with pytest.raises(FileNotFoundError):
        read_head(str(tmp_path / "none"))


def test_identifiers_are_file_names() -> None:
    checkpoint = Checkpoint("runs/{enc,dec}-3.keras", 3, (("encoder", "e"),), "0123456789abcdef")
    assert checkpoint.identifier == "enc-dec-3-keras-0123456789ab"
    assert Checkpoint(".", None, (), "0123456789abcdef").identifier == "checkpoint-0123456789ab"


@pytest.fixture(params=["pipe", "socket", "device", "sparse"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What can be opened and has no end that anybody could wait for, and a link to it."""
    here = tmp_path / request.param
    if request.param == "pipe":
        os.mkfifo(here)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(here))
    elif request.param == "sparse":
        with here.open("wb") as file:
            file.truncate(1 << 42)
    else:
        here = Path("/dev/zero")
    for name in ("runs/vae.keras", "images/a.png", "set.npz", "set.npy", "set.parquet"):
        link = tmp_path / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(here)
    return tmp_path


_NO_FILE = r"(named pipe|socket|device), not a file; name a regular file|only 0 were ever written"


def test_an_endless_checkpoint_costs_its_own_row(endless: Path) -> None:
    touch(endless / "runs/sound.keras")
    found = {c.label.rpartition("/")[2]: c for c in find_checkpoints([str(endless / "runs")])}
    assert set(found) == {"vae.keras", "sound.keras"}
    assert found["vae.keras"].sha256 != found["sound.keras"].sha256
    (alone,) = find_checkpoints([str(endless / "runs/vae.keras")])
    assert alone == found["vae.keras"]
    with pytest.raises(CheckpointError, match=_NO_FILE):
        load_networks(dict(alone.files), LoadOptions(Reading(), False, 1 << 30), alone.sha256)
    saved_model = endless / "saved"
    saved_model.mkdir()
    (saved_model / "saved_model.pb").symlink_to(os.readlink(endless / "runs/vae.keras"))
    (alone,) = find_checkpoints([str(saved_model)])
    with pytest.raises(CheckpointError, match=_NO_FILE):
        load_networks(dict(alone.files), LoadOptions(Reading(), False, 1 << 30), alone.sha256)


def test_other_endless_inputs_are_refused_by_name(endless: Path) -> None:
    for name in ("set.npz", "set.npy", "set.parquet"):
        with pytest.raises(InputError, match=rf"{name}.*({_NO_FILE})"):
            open_reference(str(endless / name))
    if not os.path.isfile(endless / "images/a.png"):
        with pytest.raises(InputError, match=r"a\.png is a pipe, a socket or a device; remove it"):
            open_reference(str(endless / "images"))
    with pytest.raises(InputError, match=rf"set\.npz.*({_NO_FILE})"):
        read_toml(str(endless / "set.npz"))
    for read in (inspect_weight_file, lambda path: network_sha256(str(path))):
        with pytest.raises(InputError, match=rf"set\.npz.*({_NO_FILE})"):
            read(endless / "set.npz")


def test_the_remedy_for_two_checkpoints_of_one_label_works(tmp_path: Path) -> None:
    """A byte that is no UTF-8 is shown as the other file's name spells it."""
    names = [os.fsdecode(b"a\xff.keras"), "a\\xff.keras"]
    for content, name in zip("xy", names, strict=True):
        touch(tmp_path / name, content)
    with pytest.raises(InputError, match="two checkpoints have the label") as refused:
        find_checkpoints([str(tmp_path / "*.keras")])
    assert "rename one of them, or score them in two runs" in str(refused.value)
    apart = {find_checkpoints([str(tmp_path / name)])[0].sha256 for name in names}
    assert len(apart) == 2
    (tmp_path / names[0]).rename(tmp_path / "b.keras")
    assert {found.sha256 for found in find_checkpoints([str(tmp_path / "*.keras")])} == apart
