"""Keys: no object, error or line of a log shows one, and no child process is started with one."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import inspect
import logging
import os
import pickle
import pkgutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import cli
from msckpt_jax.checkpoint import cipher, writer
from msckpt_jax.lowering.wanted import Wanted
from msckpt_jax.mindir import runner

KEY = b"k3y-0f-16-bytes!"
WRONG = b"an0ther-k3y-too!"
MODE = cipher.mode_named("AES-GCM", "mode")
TREE = {"w": np.ones((300, 300), np.float32)}
#: What would give a key away: as text, in hexadecimal digits, and as the list of its numbers.
TELLING = [t for k in (KEY, WRONG) for t in (k.decode(), k.hex(), str([*k])[1:-1])]


def check(text: str) -> None:
    assert [part for part in TELLING if part in text] == []


def held() -> Iterator[Any]:
    """The objects of our classes that are alive."""
    for value in gc.get_objects():
        if str(type(value).__module__).startswith("msckpt_jax.") and not inspect.isclass(value):
            yield value


def look(*_: Any) -> None:
    """Check what prints of our objects, and of what they hold."""
    count = 0
    for value in held():
        check(repr(value))
        check(repr(getattr(value, "__dict__", None)))
        count += 1
    assert count


def _classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(ms.__path__, "msckpt_jax."):
        if "__main__" in module.name or module.name.endswith("_worker"):
            continue
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:
            continue
        for value in vars(loaded).values():
            if inspect.isclass(value) and value.__module__ == module.name:
                yield value


def _fields(kind: type) -> set[str]:
    fields = {f.name for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    return fields | set(getattr(kind, "_fields", ())) | set(getattr(kind, "__annotations__", ()))


def test_the_fields_that_hold_keys_hold_keys_that_hide() -> None:
    """A class that has such a field is in this list, with an object that holds a key."""
    key = MODE.check_key(KEY, "key")
    objects = [
        writer.Options(MODE, key), Wanted(MODE, key, load={"dec_key": key}),
        runner.Case(Path("a"), [], {"dec_key": key}),
    ]  # fmt: skip
    words = {"key", "enc_key", "dec_key", "secret", "load"}
    holders = {kind for kind in _classes() if _fields(kind) & words}
    # Protocols have no objects; a path's entry names a key of another kind.
    assert {kind.__name__ for kind in holders} == {"Case", "Options", "Wanted"}
    for value in objects:
        assert "<key of 16 bytes>" in repr(value)
        check(repr(value))
        check(str(value))


def test_a_key_hides_in_whatever_prints_it() -> None:
    key = MODE.check_key(bytearray(KEY), "key")
    for text in (repr(key), str(key), f"{key}", f"{key!r}", str((key, {1: key})), f"{[key]}"):
        check(text)
    assert pickle.loads(pickle.dumps(key)) == KEY
    check(repr(pickle.loads(pickle.dumps(key))))
    assert bytes(key) == KEY


def test_configurations() -> None:
    config = ms.CheckpointConfig(enc_key=KEY)
    check(repr(config))
    check(repr(vars(config)))
    check(repr(config.save_options))
    assert config.enc_key == KEY


@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC", "SM4-CBC"])
def test_while_files_are_written_and_read(tmp_path: Path, mode: str) -> None:
    secret: dict[str, Any] = {"enc_key": KEY, "enc_mode": mode}
    ms.save_checkpoint(TREE, tmp_path / "a.ckpt", progress=look, **secret)
    save = ms.save_checkpoint(TREE, tmp_path / "a.ckpt", async_save=True, progress=look, **secret)
    look()
    assert save is not None
    save.result()
    config = ms.CheckpointConfig(save_checkpoint_steps=1, progress=look, **secret)
    with ms.ModelCheckpoint("net", tmp_path / "run", config) as saving:
        saving.step(TREE, epoch=1)
        look()
    file = ms.open_checkpoint(tmp_path / "a.ckpt", KEY, mode)
    params = ms.load_checkpoint(tmp_path / "a.ckpt", dec_key=KEY, dec_mode=mode)
    look()
    assert len(file) == len(params)


def test_models(tmp_path: Path) -> None:
    net = (lambda p, x: x @ p["w"]), {"w": jnp.ones((3, 2))}

    def cipher_of_mine(data: bytes, key: bytes) -> bytes:
        look()
        return bytes(byte ^ key[0] for byte in data)

    def plain(path: str, key: bytes) -> bytes:
        look()
        return bytes(byte ^ key[0] for byte in Path(path).read_bytes())

    x = jnp.ones((4, 3))
    done = ms.export(net, x, file_name=tmp_path / "a", enc_key=KEY, verify=True)
    check(repr(done))
    check(repr(ms.load(done.file, dec_key=KEY)))
    mine = ms.export(net, x, file_name=tmp_path / "b", enc_key=KEY, enc_mode=cipher_of_mine)
    ms.load(mine.file, dec_key=KEY, dec_mode=plain)
    look()


def test_errors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, model = tmp_path / "a.ckpt", tmp_path / "a.mindir"
    ms.save_checkpoint(TREE, secret, enc_key=KEY)
    ms.save_checkpoint(TREE, tmp_path / "plain.ckpt")
    ms.export(lambda x: x + 1, jnp.ones(3), file_name=model, enc_key=KEY)
    uses: list[Callable[[], Any]] = [
        lambda: ms.load_checkpoint(secret, dec_key=WRONG),
        lambda: ms.load_checkpoint(secret, dec_key=KEY, dec_mode="AES-CBC"),
        lambda: ms.load_checkpoint(secret, dec_key=KEY[:-1]),
        lambda: ms.load_checkpoint(secret, dec_key=KEY.decode()),  # type: ignore[arg-type]
        lambda: ms.load_checkpoint(tmp_path / "plain.ckpt", dec_key=KEY),
        lambda: ms.load(model, dec_key=WRONG),
        lambda: ms.load(model, dec_key=KEY[:-1]),
        lambda: ms.load(model, dec_key=KEY, dec_mode="SM4-CBC"),
        lambda: ms.save_checkpoint(TREE, secret, enc_key=KEY + b"!"),
        lambda: ms.save_checkpoint(TREE, secret, enc_key=KEY, enc_mode="none"),
        lambda: ms.save_checkpoint(TREE, secret, enc_key=KEY.decode()),  # type: ignore[arg-type]
        lambda: ms.save_checkpoint(TREE, secret, enc_key=KEY, crc_check=True),
        lambda: ms.save_checkpoint(TREE, tmp_path, enc_key=KEY),
        lambda: ms.export(lambda x: x, jnp.ones(3), file_name=model, enc_key=KEY + b"!"),
        lambda: ms.CheckpointConfig(enc_key=KEY + b"!"),
    ]
    for use in uses:
        with pytest.raises((ValueError, TypeError, OSError)) as caught:
            use()
        check("".join(traceback.format_exception(caught.value)))
    check(caplog.text)


def test_child_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their arguments and variables can be read by others."""
    started: list[str] = []
    start = subprocess.Popen.__init__

    def note(self: Any, command: Any, *more: Any, **kwargs: Any) -> None:
        started.append(repr([command, kwargs.get("env")]))
        start(self, command, *more, **kwargs)

    monkeypatch.setattr(subprocess.Popen, "__init__", note)
    save = ms.save_checkpoint(TREE, tmp_path / "a.ckpt", enc_key=KEY, async_save="process")
    assert save is not None
    save.result()
    assert len(started) == 1
    check(started[0])
    check(repr(dict(os.environ)))
    assert np.array_equal(ms.load_checkpoint(tmp_path / "a.ckpt", dec_key=KEY)["w"], TREE["w"])


def test_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str],
                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    ms.save_checkpoint(TREE, tmp_path / "a.ckpt", enc_key=KEY)
    for name, key in (("key", KEY), ("wrong", WRONG), ("short", KEY[:-1])):
        (tmp_path / name).write_bytes(key)
        for command in ("inspect", "verify"):
            cli.main([command, str(tmp_path / "a.ckpt"), "--dec-key-file", str(tmp_path / name)])
    for text in (KEY.hex(), WRONG.hex(), KEY.hex()[:-1], KEY.decode()):
        monkeypatch.setenv("MSCKPT_KEY", text)
        cli.main(["inspect", str(tmp_path / "a.ckpt")])
        cli.main(["inspect", str(tmp_path / "a.ckpt"), "--json"])
    printed = capfd.readouterr()
    assert "wrong key" in printed.err
    check(printed.out + printed.err)
