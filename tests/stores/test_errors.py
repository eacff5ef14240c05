"""What goes wrong with a store is told in one line, which names the path and says what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint.stores import s3, store
from msckpt_jax.cli import main
from tests.stores.server import Server

TREE = {"w": np.arange(4, dtype=np.float32)}


@pytest.fixture(autouse=True)
def _new_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clients keep the address and the credentials with which they were made."""
    store._store.cache_clear()
    yield
    monkeypatch.undo()
    store._store.cache_clear()


def check(error: BaseException, path: str, says: str) -> None:
    assert isinstance(error, ms.StoreError)
    assert isinstance(error, OSError)
    assert error.__suppress_context__ or error.__context__ is None  # no pages of tracebacks
    text = str(error)
    assert text.startswith(path), text
    assert says in text
    assert "\n" not in text


def doors(folder: str) -> dict[str, Callable[[], Any]]:
    """Calls that meet a store first when they begin."""
    net = (lambda p, x: x @ p["w"]), {"w": jnp.ones((2, 3))}
    return {
        "save": lambda: ms.save_checkpoint(TREE, f"{folder}/a.ckpt"),
        "load": lambda: ms.load_checkpoint(f"{folder}/a.ckpt"),
        "training": lambda: ms.ModelCheckpoint("net", folder),
        "resume": lambda: ms.resume(folder, TREE),
        "export": lambda: ms.export(net, jnp.ones((1, 2)), file_name=f"{folder}/net"),
        "hub": lambda: ms.save_checkpoint(TREE, f"{folder}/hub", format="safetensors",
                                          max_shard_size=100),
        "convert": lambda: ms.convert_checkpoint(f"{folder}/a.ckpt", f"{folder}/b.ckpt"),
        "transform": lambda: ms.transform_checkpoints(folder, f"{folder}/new", "net"),
    }  # fmt: skip


@pytest.mark.parametrize("door", doors(""))
def test_a_missing_bucket(server: Server, door: str) -> None:
    with pytest.raises(ms.StoreError) as caught:
        doors("s3://no-such-bucket/run")[door]()
    check(caught.value, "s3://no-such-bucket", "no such bucket: create it, or correct its name")


@pytest.mark.parametrize("door", ["save", "training", "resume"])
def test_a_server_that_is_not_there(
    server: Server, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    with pytest.raises(ms.StoreError) as caught:
        doors("s3://bucket/run")[door]()
    check(caught.value, "s3://bucket/run", "cannot be reached")


@pytest.mark.parametrize("door", ["save", "load", "training", "resume"])
def test_without_credentials(server: Server, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(ms.StoreError) as caught:
        doors("s3://bucket/run")[door]()
    check(caught.value, "s3://bucket/run", "no credentials for the store")


@pytest.fixture
def refusing(server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with a file, of a server that asks who we are: a user who may only read."""
    import boto3

    ms.save_checkpoint(TREE, f"{bucket}/run/net-1_1.ckpt")
    iam = boto3.client("iam")
    user = bucket[5:]
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    may = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    iam.put_user_policy(UserName=user, PolicyName="reads", PolicyDocument=policy)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    store._store.cache_clear()
    server.check_credentials()
    yield bucket
    server.check_credentials(after=float("inf"))


def test_who_may_only_read_is_told_before_training(refusing: str) -> None:
    assert np.array_equal(ms.load_checkpoint(f"{refusing}/run/net-1_1.ckpt")["w"], TREE["w"])
    assert ms.resume(f"{refusing}/run", TREE) is not None
    for door in ("save", "training", "export", "hub"):
        with pytest.raises(ms.StoreError) as caught:
            doors(f"{refusing}/new")[door]()
        check(caught.value, f"{refusing}/new", "may not do that there")


def test_wrong_credentials_are_no_damaged_file(
    refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that passed over what it cannot read would begin from nothing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")
    store._store.cache_clear()
    for door in ("resume", "load", "training"):
        with pytest.raises(ms.StoreError) as caught:
            doors(f"{refusing}/run")[door]()
        check(caught.value, f"{refusing}/run", "does not take these credentials")


def test_a_file_that_may_not_be_read_ends_resume(
    server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ms.save_checkpoint(TREE, f"{bucket}/run/net-1_1.ckpt")

    def refuse(self: Any, key: str, *_: Any) -> bytes:
        raise ms.StoreError("the store refuses it", file=f"s3://{key}")

    monkeypatch.setattr(s3.S3, "read", refuse)
    with pytest.raises(ms.StoreError, match="refuses"):
        ms.resume(f"{bucket}/run", TREE)


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "s3"), ("az", "azure")])
def test_a_missing_package(scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "adlfs", None)
    monkeypatch.delitem(sys.modules, "msckpt_jax.checkpoint.stores.s3")
    with pytest.raises(ms.StoreError) as caught:
        ms.open_checkpoint(f"{scheme}://bucket/a.ckpt")
    check(caught.value, f"{scheme}://bucket/a.ckpt", f"pip install 'msckpt_jax[{extra}]'")


def test_a_scheme_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (ms.open_checkpoint, lambda name: ms.save_checkpoint(TREE, name)):
        with pytest.raises(ValueError, match="s4"):
            call("s4://bucket/a.ckpt")
    assert not [*tmp_path.iterdir()]


def test_a_missing_object_is_a_missing_file(bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.ckpt"):
        ms.load_checkpoint(f"{bucket}/a.ckpt")
    assert ms.resume(f"{bucket}/run", TREE) is None


def test_orbax_knows_no_s3(server: Server, bucket: str, tmp_path: Path) -> None:
    """Orbax would write to a local folder called ``s3:``."""
    ms.save_checkpoint(TREE, f"{bucket}/a.ckpt")
    server.client.put_object(Bucket=bucket[5:], Key="run/1/_METADATA", Body=b"{}")
    for call in (
        lambda: ms.convert_checkpoint(f"{bucket}/a.ckpt", f"{bucket}/tree"),
        lambda: ms.open_checkpoint(f"{bucket}/run/1"),
    ):
        with pytest.raises(ms.CheckpointError, match=r"gs:// only: copy it to one") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        "inspect {}/a.ckpt",
        "verify {}/a.ckpt",
        "diff {}/a.ckpt {}/b.ckpt",
        "convert {}/a.ckpt {}/b.safetensors",
        "merge {} --strategy {}/s.ckpt -o {}/m.ckpt",
        "reshard {} --from {}/s.ckpt --to x=2 -o {}/new",
        "recover {}",
        "verify {}/net.onnx",
        "inspect {}/net.mindir",
    ],
)
def test_a_command_fails_in_one_line(
    server: Server, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.replace("{}", "s3://no-such-bucket/run").split()) == 2
    told = capsys.readouterr().err
    assert told.startswith("msckpt: error: s3://no-such-bucket/run")
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", ["dbfs://host/a.ckpt", "smb://host/a.ckpt", "nothing://a/b"])
def test_a_scheme_that_names_no_store(name: str) -> None:
    """fsspec knows some that need a host or a token, or a package that no extra of ours has."""
    with pytest.raises((ValueError, ms.StoreError), match=r"neither this package|needs a package"):
        ms.load_checkpoint(name)


@pytest.mark.filterwarnings("ignore:Exception ignored")  # fsspec's, of what it could not make
def test_a_scheme_that_needs_more_than_a_name() -> None:
    with pytest.raises(ValueError, match=r"ftp://; use s3://, gs:// or az://"):
        ms.load_checkpoint("ftp://host/a.ckpt")
