"""MindIR files: the same bytes each time, weights at their places, nothing half-written."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msckpt_jax._protos.mind_ir_pb2 import ModelProto
from msckpt_jax.api.export import export
from msckpt_jax.graph import payload

WEIGHTS = {"b": np.arange(3, dtype=np.float32), "a": {"w": np.ones((4, 3), np.float32)}}


def net(weights, x):
    return jnp.tanh(x @ weights["a"]["w"] + weights["b"])


def written(path, **kwargs):
    return export((net, WEIGHTS), jnp.ones((2, 4)), file_name=path, **kwargs).file


def parsed(path) -> ModelProto:
    return ModelProto.FromString(path.read_bytes())


def test_the_same_bytes_each_time(tmp_path):
    one, two = written(tmp_path / "one"), written(tmp_path / "two.mindir")
    assert one.name == "one.mindir"
    assert one.read_bytes() == two.read_bytes()


def test_what_is_in_the_file(tmp_path):
    model = parsed(written(tmp_path / "net", user_info={"author": "me"}))
    assert (model.mind_ir_version, model.producer_name) == (3, "msckpt_jax")
    assert model.user_info["author"] == "me"
    found = {p.ref_key: np.frombuffer(p.raw_data, np.float32) for p in model.graph.parameter}
    assert found.keys() == {"a.w", "b"}
    np.testing.assert_array_equal(found["b"], WEIGHTS["b"])
    (x,) = model.graph.input
    assert (x.name, list(x.tensor[0].dims)) == ("main:x", [2, 4])


def test_names_are_unique_and_every_node_says_its_shape(tmp_path):
    model = parsed(written(tmp_path / "net"))
    names = [node.name for node in model.graph.node] + [p.name for p in model.primitives]
    assert len(set(names)) == len(names)
    for node in model.graph.node:
        assert node.op_type == "Constant" or node.attribute[0].name == "shape"


def test_split_weights(tmp_path):
    file = written(tmp_path / "net", split_bytes=10)
    assert file.name == "net_graph.mindir"
    data = (tmp_path / "net_variables" / "data_0").read_bytes()
    assert data[0] == 1
    for parameter in parsed(file).graph.parameter:
        place = parameter.external_data
        assert place.location == "net_variables/data_0"
        assert place.offset % 64 == 0
        found = np.frombuffer(data[place.offset : place.offset + place.length], np.float32)
        want = WEIGHTS["b"] if parameter.ref_key == "b" else WEIGHTS["a"]["w"].ravel()
        np.testing.assert_array_equal(found, want)


def test_a_split_file_never_stands_beside_weights_of_another(tmp_path):
    seen = []
    for _ in range(3):
        file = written(tmp_path / "net", split_bytes=10)
        places = {p.external_data.location for p in parsed(file).graph.parameter}
        assert [f"net_variables/{f.name}" for f in (tmp_path / "net_variables").iterdir()] == [
            *places
        ]
        seen += places
    assert seen == [f"net_variables/data_{n}" for n in (0, 1, 0)]


@pytest.mark.parametrize("fails", ["data_2", "net_graph.mindir"])
def test_weights_never_take_a_name_that_is_in_use(tmp_path, monkeypatch, fails):
    """The graph names data_1, and a killed export has left a data_0."""
    for _ in range(2):
        file = written(tmp_path / "net", split_bytes=10)
    (tmp_path / "net_variables/data_0").write_bytes(b"left")
    before = {path: path.read_bytes() for path in (file, tmp_path / "net_variables/data_1")}
    write = payload.write

    def fail(path, *rest):
        if path.name == fails:
            raise OSError(28, "No space left on device")
        write(path, *rest)

    monkeypatch.setattr(payload, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path / "net", split_bytes=10)
    assert {path: path.read_bytes() for path in before} == before
    monkeypatch.undo()
    written(tmp_path / "net", split_bytes=10)
    assert [path.name for path in (tmp_path / "net_variables").iterdir()] == ["data_2"]


def test_a_failure_leaves_the_old_file(tmp_path):
    file = written(tmp_path / "net")
    before = file.read_bytes()

    def fail(model):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        written(tmp_path / "net", custom_func=fail)
    assert file.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["net.mindir"]


def test_custom_func_sees_the_message(tmp_path):
    def note(model):
        model.user_info["note"] = "here"
        model.producer_version = "7"

    model = parsed(written(tmp_path / "net", custom_func=note))
    assert (model.user_info["note"], model.producer_version) == ("here", "7")
    assert all(parameter.raw_data for parameter in model.graph.parameter)


def test_sharded_weights(tmp_path, mesh):
    spread = jax.NamedSharding(mesh, jax.P("x", "y"))
    weights = {"w": jax.device_put(jnp.arange(32.0).reshape(4, 8), spread)}
    done = export((lambda w, x: x @ w["w"], weights), jnp.ones((2, 4)), file_name=tmp_path / "net")
    (parameter,) = parsed(done.file).graph.parameter
    found = np.frombuffer(parameter.raw_data, np.float32).reshape(4, 8)
    np.testing.assert_array_equal(found, np.asarray(weights["w"]))


def test_wide_weights_where_jax_is_narrow(tmp_path):
    done = export((lambda w, x: x * w, np.arange(3.0)), jnp.ones(3), file_name=tmp_path / "net")
    (parameter,) = parsed(done.file).graph.parameter
    assert parameter.data_type == 1
    np.testing.assert_array_equal(np.frombuffer(parameter.raw_data, np.float32), np.arange(3))


MEMORY = """
import resource, sys
import numpy as np
from msckpt_jax.api.export import export
from msckpt_jax.graph import payload
weights = {str(i): np.ones((32 << 20) // 4, np.float32) for i in range(8)}
function = lambda w, x: sum(x + v[0] for v in w.values())
export((function, {k: v[:4] for k, v in weights.items()}), np.ones(2), file_name=sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
export((function, weights), np.ones(2), file_name=sys.argv[1], split_bytes=int(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("split", [0, 1 << 30])
def test_weights_are_streamed(split, tmp_path):
    """256 MiB of weights take a few windows of 8 MiB."""
    out = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "net", str(split)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert int(out.stdout) < 100 << 10
