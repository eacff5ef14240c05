"""The generated message classes: up to date, and beside MindSpore's own in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import msckpt_jax
from msckpt_jax._protos import mind_ir_pb2
from tests.real import need_mindspore

PACKAGE = Path(msckpt_jax.__file__).parent
GENERATOR = PACKAGE.parent / "protos" / "generate.py"

# MindSpore's schema as a dict of "Message.field" -> (number, type, label), and what ours has.
COMPARE = """
import json, sys
{imports}
def fields(messages, prefix=""):
    for message in messages:
        if message.GetOptions().map_entry:
            continue
        for field in message.fields:
            yield prefix + message.name + "." + field.name, [field.number, field.type]
        yield from fields(message.nested_types, prefix + message.name + ".")
def schema(module):
    return dict(fields(module.DESCRIPTOR.message_types_by_name.values()))
json.dump([schema(mind_ir_pb2), schema(theirs)], open(sys.argv[1], "w"))
"""
OURS = "from msckpt_jax._protos import mind_ir_pb2; mind_ir_pb2.ModelProto()"
THEIRS = "import mindspore; from mindspore.train import mind_ir_pb2 as theirs"


def test_generated_code_is_up_to_date(tmp_path):
    subprocess.run([sys.executable, GENERATOR, tmp_path], check=True)
    made = sorted(tmp_path.iterdir())
    assert made
    for file in made:
        assert file.read_bytes() == (PACKAGE / "_protos" / file.name).read_bytes(), file.name


def test_nothing_enters_the_default_pool():
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("msckpt_jax.mind_ir.ModelProto")


def test_a_message_keeps_what_is_put_into_it():
    model = mind_ir_pb2.ModelProto(producer_name="a", user_info={"k": "v"})
    model.graph.node.add(op_type="Constant").attribute.add(type=mind_ir_pb2.AttributeProto.NONE)
    again = mind_ir_pb2.ModelProto.FromString(model.SerializeToString(deterministic=True))
    assert again == model
    assert again.user_info["k"] == "v"
    assert again.graph.node[0].attribute[0].type == 25


@pytest.mark.parametrize("imports", [f"{OURS}\n{THEIRS}", f"{THEIRS}\n{OURS}"])
def test_the_schema_is_mindspores_and_both_live_in_one_process(imports, tmp_path):
    need_mindspore()
    answer = tmp_path / "answer.json"
    code = COMPARE.format(imports=imports)
    subprocess.run([sys.executable, "-c", code, answer], check=True, capture_output=True)
    ours, theirs = json.loads(answer.read_text())
    assert ours == theirs
