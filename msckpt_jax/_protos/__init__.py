"""Message classes generated from ``protos/``, in a pool of their own.

Nothing enters protobuf's default pool, where MindSpore registers its own schemas: a name met twice
there makes ``import mindspore`` die.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_POOL = descriptor_pool.DescriptorPool()


def messages(descriptor_set: bytes) -> dict[str, Any]:
    """The top-level message classes of one schema, by name, and its ``DESCRIPTOR``.

    Args:
        descriptor_set: a serialised ``FileDescriptorSet`` of one file.
    """
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
    _POOL.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name], _POOL)
    prefix = f"{file.package}."
    names = {name.removeprefix(prefix): cls for name, cls in classes.items()}
    top = {name: cls for name, cls in names.items() if "." not in name}
    return {"DESCRIPTOR": _POOL.FindFileByName(file.name), **top}
