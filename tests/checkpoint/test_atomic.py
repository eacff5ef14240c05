"""A reader sees the previous file or the whole new one, whatever happens to the writer."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import random
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint import plan as planning

OLD = {"version": 1, "w": np.zeros(100)}
NEW = {"version": 2, "w": np.ones((64, 40_000))}  # 20 MB: several windows


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "a.ckpt"
    ms.save_checkpoint(OLD, str(path))
    return path


def check_unchanged(target: Path) -> None:
    assert ms.load_checkpoint(str(target))["version"] == 1
    assert os.listdir(target.parent) == [target.name]


def full_disk(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["pwritev", "fsync", "replace", "posix_fallocate"])
def test_a_full_disk_leaves_the_old_file(
    target: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OSError, match="No space left"):
        ms.save_checkpoint(NEW, str(target))
    check_unchanged(target)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("kwargs", [{}, {"enc_key": bytes(16)}, {"threads": 1}])
def test_an_interruption_leaves_the_old_file(
    target: Path, error: type[BaseException], kwargs: dict[str, Any]
) -> None:
    def interrupt(nbytes: int) -> None:
        raise error

    with pytest.raises(error):
        ms.save_checkpoint(NEW, str(target), progress=interrupt, **kwargs)
    check_unchanged(target)


def test_short_writes_go_on(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, data, at: write(fd, data[:1], at))
    ms.save_checkpoint(NEW, str(target))
    assert np.array_equal(ms.load_checkpoint(str(target))["w"], NEW["w"])


def test_file_systems_that_cannot_allocate(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    ms.save_checkpoint(NEW, str(target))
    assert np.array_equal(ms.load_checkpoint(str(target))["w"], NEW["w"])


_ENDLESS = """
import sys
import numpy as np
import msckpt_jax as ms
version = 0
while True:
    version += 1
    tree = {"version": version, "w": np.full((8, 500_000), version, np.float32)}
    ms.save_checkpoint(tree, sys.argv[1], crc_check=True, durable=version % 4 == 0)
    print(version, flush=True)
"""


def test_kill_at_50_random_points(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    moments = random.Random(0)
    seen: set[int] = set()
    left_behind = 0
    for _ in range(50):
        with subprocess.Popen(
            [sys.executable, "-c", _ENDLESS, target], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # the first save is done, the second begins
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        found = ms.load_checkpoint(str(target), crc_check=True)
        version = int(found["version"])
        assert np.array_equal(found["w"], np.full((8, 500_000), version, np.float32))
        seen.add(version)
        left_behind += len(os.listdir(tmp_path)) > 1
    assert len(seen) > 1
    assert left_behind > 0, "no process was killed while it wrote: the test proves nothing"
    ms.save_checkpoint(OLD, str(target))
    check_unchanged(target)  # what the killed ones left is swept away


def test_two_processes_save_the_same_name(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    command = [sys.executable, "-c", _ENDLESS, target]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as one,
        subprocess.Popen(command, stdout=subprocess.PIPE) as other,
    ):
        for process in (one, other):
            assert process.stdout is not None
            process.stdout.readline()
        for _ in range(30):
            found = ms.load_checkpoint(str(target), crc_check=True)
            assert np.all(found["w"] == found["version"])
        assert one.poll() is None
        assert other.poll() is None
        one.kill()
        other.kill()


def test_threads_save_the_same_name(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    errors: list[BaseException] = []

    def save(version: int) -> None:
        try:
            for _ in range(10):
                tree = {"version": version, "w": np.full(1000, version)}
                ms.save_checkpoint(tree, str(target), durable=False)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    found = ms.load_checkpoint(str(target))
    assert np.all(found["w"] == found["version"])
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_a_live_writer_is_not_swept_away(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    with atomic.replacing(target, durable=False) as file:
        os.write(file.fd, b"slow")
        with atomic.replacing(target, durable=False) as other:
            os.write(other.fd, b"quick")
        assert target.read_bytes() == b"quick"
    assert target.read_bytes() == b"slow"


# Modes


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("secret", [0o600, 0o640, 0o444, 0o664])
def test_a_replaced_file_keeps_its_mode(target: Path, umask: None, secret: int) -> None:
    modes: list[int] = []

    def look(_: int) -> None:
        modes.extend(mode(path) for path in target.parent.iterdir() if path != target)

    target.chmod(secret)
    ms.save_checkpoint(NEW, target, progress=look)
    assert mode(target) == secret
    assert set(modes) == {0o600}  # nobody else reads it while it is written, either


def test_a_new_file_has_what_the_umask_leaves(tmp_path: Path, umask: None) -> None:
    ms.save_checkpoint(OLD, tmp_path / "a.ckpt")
    assert mode(tmp_path / "a.ckpt") == 0o644
    os.umask(0o077)
    ms.save_checkpoint(OLD, tmp_path / "b.ckpt")
    assert mode(tmp_path / "b.ckpt") == 0o600


def test_a_mode_that_is_narrowed_meanwhile_is_kept(target: Path, umask: None) -> None:
    ms.save_checkpoint(NEW, target, progress=lambda _: target.chmod(0o600))
    assert mode(target) == 0o600


def test_the_group_is_kept(target: Path, umask: None) -> None:
    groups = [group for group in os.getgroups() if group != target.stat().st_gid]
    if os.geteuid() == 0:
        groups.append(12345)
    if not groups:
        pytest.skip("this user is in one group only")
    os.chown(target, -1, groups[-1])
    target.chmod(0o640)
    ms.save_checkpoint(NEW, target)
    assert (target.stat().st_gid, mode(target)) == (groups[-1], 0o640)


def test_a_group_that_cannot_be_kept_gives_the_other_nothing(
    target: Path, umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    older = target.stat()
    other = os.stat_result([*older[:5], older.st_gid + 1, *older[6:]])
    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(atomic, "_status", lambda path: other)
    ms.save_checkpoint(NEW, target)
    assert mode(target) == 0o604


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file_is_replaced_by_one_of_no_wider_mode(target: Path, umask: None) -> None:
    os.chown(target, 12345, -1)
    target.chmod(0o666)
    os.umask(0o077)
    ms.save_checkpoint(NEW, target)
    assert (target.stat().st_uid, mode(target)) == (0, 0o600)


def test_every_kind_of_file_keeps_its_mode(tmp_path: Path, umask: None) -> None:
    """Models, the weights beside them, strategies, rank files, maps: written twice."""
    mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    sharded = jax.device_put(np.ones((4, 3), np.float32), jax.NamedSharding(mesh, jax.P("x")))
    weights = {"w": jnp.ones((3, 2))}

    def work() -> None:
        ranks = tmp_path / "ranks"
        ranks.mkdir(exist_ok=True)
        ms.save_checkpoint({"w": sharded}, ranks / "a.ckpt", integrated_save=False)
        ms.save_checkpoint({"w": sharded}, tmp_path / "a", format="safetensors")
        ms.ckpt_to_safetensors(tmp_path / "ranks", tmp_path / "safe")
        source, strategy = str(tmp_path / "safe"), ranks / "strategy.ckpt"
        ms.unified_safetensors(source, strategy, tmp_path / "unified")
        for form, split in (("MINDIR", None), ("AIR", None), ("ONNX", None), ("MINDIR", 0),
                            ("AIR", 0), ("ONNX", 0)):  # fmt: skip
            name = tmp_path / f"{form}{split}"
            net = (lambda p, x: x @ p["w"]), weights
            ms.export(net, jnp.ones((4, 3)), file_name=name, file_format=form, split_bytes=split)

    work()
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) > 12
    for path in files:
        path.chmod(0o600)
    work()
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(after) == len(files)
    assert {path.name: oct(mode(path)) for path in after} == {p.name: "0o600" for p in after}


# Temporary names


def test_links_and_strangers_files_are_not_resumed(tmp_path: Path) -> None:
    target, victim = tmp_path / "m.ckpt", tmp_path / "victim"
    victim.write_bytes(b"precious")
    planted = [atomic._prefix(target) + f"job{mark}.tmp" for mark in ("", ".0", ".1", ".2", ".3")]
    for name in planted[:2]:
        (tmp_path / name).symlink_to(victim)
    os.link(victim, tmp_path / planted[2])
    os.mkfifo(tmp_path / planted[3])
    (tmp_path / planted[4]).mkdir()
    with atomic.resuming(target, "job") as file:
        assert file.path.name not in planted
        os.write(file.fd, b"new")
    assert victim.read_bytes() == b"precious"
    assert (target.read_bytes(), target.is_symlink()) == (b"new", False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_resumed(tmp_path: Path) -> None:
    target = tmp_path / "m.ckpt"
    path = tmp_path / (atomic._prefix(target) + "job.0.tmp")
    path.write_bytes(b"theirs")
    os.chown(path, 12345, -1)
    with atomic.resuming(target, "job") as file:
        assert os.fstat(file.fd).st_size == 0


def test_a_killed_job_is_resumed_under_a_name_that_nobody_guesses(tmp_path: Path) -> None:
    target, names = tmp_path / "m.ckpt", set()
    for attempt in range(3):
        with contextlib.suppress(KeyboardInterrupt), atomic.resuming(target, "job") as file:
            assert os.pread(file.fd, 10, 0) == (b"" if not attempt else b"half")
            os.pwrite(file.fd, b"half", 0)
            names.add(file.path.name)
            raise KeyboardInterrupt
        assert stat.S_IMODE(os.stat(tmp_path / file.path).st_mode) & 0o022 == 0
    (name,) = names
    assert re.fullmatch(r"\.m\.ckpt\.job\.[0-9a-f]{16}\.tmp", name)
    with atomic.resuming(target, "other job") as file:  # which sweeps
        assert os.pread(file.fd, 10, 0) == b""
    assert os.listdir(tmp_path) == ["m.ckpt"]


def test_two_runs_of_a_job_do_not_share_its_file(tmp_path: Path) -> None:
    target = tmp_path / "m.ckpt"
    with (
        atomic.resuming(target, "job"),
        pytest.raises(BlockingIOError, match="another process is writing it"),
        atomic.resuming(target, "job"),
    ):
        pass
    assert os.listdir(tmp_path) == ["m.ckpt"]


# Targets


def bytes_of(tree: Any, tmp_path: Path, **kwargs: Any) -> bytes:
    path = tmp_path / "wanted.ckpt"
    ms.save_checkpoint(tree, str(path), **kwargs)
    return path.read_bytes()


@pytest.mark.parametrize("kwargs", [{}, {"crc_check": True}])
def test_open_files(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    out = io.BytesIO()
    ms.save_checkpoint(NEW, out, **kwargs)
    assert out.getvalue() == bytes_of(NEW, tmp_path, **kwargs)


def test_encrypted_streams(tmp_path: Path) -> None:
    out = io.BytesIO()
    ms.save_checkpoint(NEW, out, enc_key=bytes(16))
    path = tmp_path / "a.ckpt"
    path.write_bytes(out.getvalue())
    assert np.array_equal(ms.load_checkpoint(str(path), dec_key=bytes(16))["w"], NEW["w"])


def test_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    ms.save_checkpoint(NEW, str(pipe))
    reader.join()
    assert got == [bytes_of(NEW, tmp_path)]


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.ckpt"
    link.symlink_to(tmp_path / "real" / "file.ckpt")
    ms.save_checkpoint(OLD, str(link))
    assert link.is_symlink()
    assert os.listdir(tmp_path / "real") == ["file.ckpt"]


@pytest.mark.parametrize(
    ("name", "format", "written"),
    [
        ("a", "ckpt", "a.ckpt"),
        ("a.txt", "ckpt", "a.txt.ckpt"),
        ("ackpt", "ckpt", "ackpt"),
        ("a.ckpt", "safetensors", "a.ckpt.safetensors"),
        ("ü" * 120 + ".ckpt", "ckpt", "ü" * 120 + ".ckpt"),
    ],
)
def test_file_names(tmp_path: Path, name: str, format: str, written: str) -> None:
    ms.save_checkpoint({"w": np.ones(2)}, str(tmp_path / name), format=format)
    assert os.listdir(tmp_path) == [written]


def test_missing_folder_and_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ms.save_checkpoint(OLD, str(tmp_path / "no" / "a.ckpt"))
    with pytest.raises(IsADirectoryError):
        ms.save_checkpoint(OLD, str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no file system in memory")
def test_a_full_file_system_in_memory_is_noticed_before_a_byte_is_written() -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        room = os.fstatvfs(file.fileno())
        writer.reserve(file.fileno(), planning.CHUNK_BYTES)
        assert not os.fstat(file.fileno()).st_blocks  # zeros would be written twice
        with pytest.raises(OSError, match="No space left"):
            writer.reserve(file.fileno(), 2 * room.f_blocks * room.f_frsize)
