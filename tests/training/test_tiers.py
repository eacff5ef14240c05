"""Local steps on several machines, one of which is lost: real processes of jax.distributed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.parallel.test_hosts import check_ended_well, run

SCRIPT = "../training/tiers.py"  # beside that of tests/parallel


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three processes of which the second was killed in a local save."""
    folder = tmp_path_factory.mktemp("tiers")
    ended = run("broken_off", 3, folder, SCRIPT)
    assert [each.status for each in ended] == [0, -9, 0], [each.output for each in ended]
    assert all("told: the local step m-1_8" in ended[i].output for i in (0, 2))
    for machine in range(3):
        left = sorted(os.listdir(folder / "run" / str(machine)))
        assert [name for name in left if name.startswith("m-1_6.")] == left[len(left) - 1 :]
        assert len(left) == 1 + (machine == 1)  # what the killed one was writing
    (folder / "far" / "m-1_6.ckpt").unlink()
    shutil.copytree(folder / "far", folder / "far of two")
    return folder


def disks(folder: Path, name: str, *gone: int) -> None:
    """A set of the machines' disks, without those of some."""
    shutil.copytree(folder / "run", folder / name)
    for machine in gone:
        shutil.rmtree(folder / name / str(machine))


def test_a_lost_machine(broken_off: Path) -> None:
    folder = broken_off
    for name, gone in {"whole": (), "one gone": (1,), "one damaged": (), "two gone": (0, 1),
                       "all gone": (0, 1, 2)}.items():  # fmt: skip
        disks(folder, name, *gone)
    (damaged,) = (folder / "one damaged" / "0").glob("m-1_6*")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    shutil.copytree(folder / "far", folder / "later")
    os.rename(folder / "later" / "m-1_3.ckpt", folder / "later" / "m-1_7.ckpt")
    ended = run("resume", 3, folder, SCRIPT)
    check_ended_well(ended)
    for each in ended:
        assert "two gone ['skipped, because parts of it are lost']" in each.output
        assert "one gone []" in each.output
    assert "one damaged ['skipped, because it is not sound']" in ended[0].output


def test_fewer_machines(broken_off: Path) -> None:
    disks(broken_off, "fewer", 1)
    os.rename(broken_off / "fewer" / "2", broken_off / "fewer" / "1")
    check_ended_well(run("fewer", 2, broken_off, SCRIPT))
