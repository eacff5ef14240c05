"""Damaged files by the thousand: each is read, or refused with the documented error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

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
