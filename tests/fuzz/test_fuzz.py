"""Damaged files by the thousand: each is read, or refused with the documented error."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import msckpt_jax as ms
from tests.fuzz import mutate, targets

#: Damaged files for each target.
FILES = 2000


@pytest.mark.timeout(200)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", targets.TARGETS)
def test_damaged_files(tmp_path: Path, name: str) -> None:
    read, refused = targets.run(name, range(FILES), tmp_path)
    # Damage that is always refused, or never, would not get far into the reader.
    assert min(read, refused) > 0.02 * (read + refused)


def test_a_negative_scalar_in_a_safetensors_file_with_a_check_sum(tmp_path: Path) -> None:
    """The check sum cannot be computed, and the error named no file."""
    whole = targets.seeds_of("safetensors")[1]["a.safetensors"]
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole.replace(np.int64(7).tobytes(), np.int64(-7).tobytes()))
    with pytest.raises(ms.CheckpointError, match="negative integer scalar") as error:
        ms.load_checkpoint(path, crc_check=True)
    assert error.value.file == str(path)


@pytest.mark.parametrize("seed", [0, 1])
def test_orbax_metadata_of_another_shape(tmp_path: Path, seed: int) -> None:
    """An array that is said to be a scalar raised NumPy's error."""
    path = targets._put(targets.seeds_of("orbax")[seed], tmp_path)
    about = path / "_METADATA"
    about.write_text(about.read_text().replace('"np.ndarray"', '"scalar"'))
    file = ms.open_checkpoint(path)
    with pytest.raises(ms.CheckpointError, match="another shape than the metadata say") as error:
        file["w"]
    assert (error.value.file, error.value.name) == (str(path), "w")


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_sound_files_are_read(tmp_path: Path, name: str) -> None:
    for seed in targets.seeds_of(name):
        targets.TARGETS[name].read(targets._put(seed, tmp_path))


def test_a_finding_is_raised_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> None:
        if path.read_bytes() != whole:
            raise IndexError("raw")

    whole = targets.seeds_of("strategy")[0]["s.ckpt"]
    broken = targets.TARGETS["strategy"]._replace(read=read)
    monkeypatch.setitem(targets.TARGETS, "strategy", broken)
    with pytest.raises(targets.FindingError, match=r"strategy (\d+): IndexError: raw") as first:
        targets.run("strategy", range(10), tmp_path)
    with pytest.raises(targets.FindingError, match="^" + str(first.value) + "$"):
        targets.run("strategy", range(10), tmp_path)


def test_messages_are_parsed_and_written_again() -> None:
    for name in ("mindir", "air", "onnx"):
        for sound in targets.seeds_of(name):
            whole = next(iter(sound.values()))
            fields = mutate.parsed(whole)
            assert fields is not None
            assert mutate.written(fields) == whole
            assert len(list(mutate._lists(fields))) > 2
            made = {mutate.message(random.Random(seed), whole) for seed in range(10)}
            assert len(made - {whole}) > 5
