"""Files of others: what a file is that is no checkpoint we read, and the way on.

The marks are those that the formats' own documents or ``file(1)`` give; the rest are the first
fields of protobuf files as their writers put them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.source import Source
from msckpt_jax.errors import CheckpointError

#: Bytes at the start of a file that tell what it is; those of a tar file come last.
_HEAD_BYTES = 512
_UNPACK = "unpack it first"
_MODEL = "msckpt_jax.load reads it, and msckpt convert MODEL weights.ckpt takes its weights out"
_TENSORFLOW = (
    "in TensorFlow, tf.train.load_checkpoint(FOLDER) has get_tensor(NAME): save_checkpoint takes a "
    "dict of these"
)
_SAFETENSORS = "load it with its own library, and save the tensors as safetensors"


#: Endings of files that we do not write, which hence are no names of folders either.
ENDINGS = frozenset({
    ".pt", ".pth", ".bin", ".npz", ".npy", ".h5", ".hdf5", ".keras", ".pkl", ".msgpack", ".gguf",
    ".ms", ".mlmodel", ".plan", ".tflite", ".pb", ".onnx", ".mindir", ".air",
    ".zip", ".tar", ".gz", ".json",
})  # fmt: skip


class _Kind(NamedTuple):
    """A kind of file: the bytes that begin it, its name, and the way on."""

    mark: re.Pattern[bytes]
    name: str
    advice: str


def _kind(mark: bytes, name: str, advice: str) -> _Kind:
    return _Kind(re.compile(mark, re.DOTALL), name, advice)


_KINDS = (
    _kind(rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "a PyTorch file of before 1.6",
          "it is a pickle, which could run code, so load it in PyTorch with weights_only=True and "
          "save it anew"),
    _kind(rb"\x80[\x02-\x05]", "a Python pickle", f"it could run code, so {_SAFETENSORS}"),
    _kind(rb"PK\x03\x04.{26}(metadata|config)\.json", "a Keras model (.keras)",
          "save_checkpoint({w.path: w.value for w in keras.saving.load_model(FILE).weights}, "
          "TARGET) makes a CheckPoint of it"),
    _kind(rb"PK(\x03\x04|\x05\x06)", "a zip archive, but no .npz and no PyTorch file, or one that "
          "is cut off", "fetch it again, or unpack it first"),
    _kind(rb"\x93NUMPY", "one array of NumPy (.npy)",
          "save_checkpoint({NAME: np.load(FILE)}, TARGET) makes a CheckPoint of it"),
    _kind(rb"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, .h5)", _SAFETENSORS),
    _kind(rb"GGUF", "a GGUF file (llama.cpp)",
          "AutoModel.from_pretrained(FOLDER, gguf_file=NAME).save_pretrained(OUT) in transformers "
          "makes a folder that msckpt convert reads"),
    _kind(rb".{4}MSL\d", "a model of MindSpore Lite (.ms)",
          "Lite's converter makes it, and nothing reads it back: take the MindIR or ONNX file it "
          "was made of"),
    _kind(rb".{4}TFL\d", "a TensorFlow Lite model", _SAFETENSORS),
    _kind(rb"ftrt", "an engine of TensorRT", "it is built for one GPU, and nothing reads it back: "
          "take the ONNX file it was built from"),
    _kind(rb"PAR1|ARROW1", "a table (Parquet, Arrow)", "it holds data, not weights"),
    _kind(rb"\x00\x00.\x08.\x1a\x02\x08", "the index of a checkpoint of TensorFlow", _TENSORFLOW),
    _kind(rb"model_checkpoint_path: ", "the list of checkpoints of TensorFlow", _TENSORFLOW),
    _kind(rb"\x08.\x12.{1,3}?\n", "a strategy file", "pass it as strategy=, and the folder of the "
          "rank files as the CheckPoint"),
    _kind(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]", "an ONNX model",
          "msckpt inspect shows it; the weights lie in the checkpoint it was exported from"),
    _kind(rb"\n.\d+\.\d+\.?\d*\x12", "a MindIR model", _MODEL),
    _kind(rb"\x1f\x8b", "a gzip file", _UNPACK),
    _kind(rb"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    _kind(rb"\x04\x22M\x18", "an LZ4 file", _UNPACK),
    _kind(rb"BZh\d", "a bzip2 file", _UNPACK),
    _kind(rb"\xfd7zXZ\x00", "an xz file", _UNPACK),
    _kind(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _kind(rb".{257}ustar", "a tar archive", _UNPACK),
    _kind(rb"([\x81-\x8f]|\xde..)([\xa1-\xbf]|\xd9.)[\w./-]", "a tree in msgpack (Flax, .msgpack)",
          "save_checkpoint(flax.serialization.msgpack_restore(open(FILE, 'rb').read()), TARGET) "
          "makes a CheckPoint of it"),
    _kind(rb"version https://git-lfs", "a pointer of Git LFS, not the file itself",
          "git lfs pull fetches it"),
    _kind(rb"\s*<(!|\?xml|html|HTML|head|Error)", "a page of HTML or XML",
          "a download has saved an error or a login page: fetch it again"),
)  # fmt: skip


#: No control characters; a CheckPoint, which may have long names, begins with a line feed.
_TEXT = _kind(rb"(?![\n{])[^\x00-\x08\x0e-\x1f]{8,}\Z", "a text",
              "name the file that holds the weights")  # fmt: skip
#: What we read ourselves, or might, by more than its first bytes.
_ARCHIVE = _kind(rb"PK\x03\x04", "a zip archive, as .npz and PyTorch's files are",
                 "msckpt inspect MODEL tells which, and msckpt convert reads those")  # fmt: skip
#: What we read ourselves, for those who take it for a model.
_CHECKPOINTS = (
    _kind(rb"\n.{1,5}?\n", "a CheckPoint", "load_checkpoint reads it"),
    _kind(rb".{8}\{", "a safetensors file", "load_checkpoint reads it"),
)


#: Kinds whose first bytes are also those of others.
_BY_NAME = {
    ".air": _kind(b"", "an AIR model", _MODEL),
    ".pb": _kind(
        b"", "a SavedModel or a graph of TensorFlow, or MindSpore's group info,", _TENSORFLOW
    ),
    ".mlmodel": _kind(b"", "a Core ML model", "coremltools reads it; take what it was made of"),
}
#: What such files are taken for.
_VAGUE = ("an ONNX model", "a strategy file")


def check(source: Source) -> None:
    """Refuse a file that begins as another kind of file does.

    Raises:
        CheckpointError: it does; the message says what it is, and what to do.
    """
    told = _told(bytes(source.data[:_HEAD_BYTES]), source.path, (*_KINDS, _TEXT))
    kind = _BY_NAME.get(source.path.suffix)
    if kind is not None and (told is None or any(word in told for word in _VAGUE)):
        told = f"this is {kind.name} by its name: {_advice(kind.advice, source.path)}"
    if told is not None:
        raise CheckpointError(told, file=source.path)


def instead(data: memoryview, path: AnyPath, model: str) -> str | None:
    """What a file is that is no ``model``, and what to do; None if nothing tells."""
    told = _told(bytes(data[:_HEAD_BYTES]), path, (_ARCHIVE, *_KINDS, *_CHECKPOINTS))
    return None if told is None or f" {model} model" in told else told


def _told(head: bytes, path: AnyPath, kinds: Sequence[_Kind]) -> str | None:
    kind = next((kind for kind in kinds if kind.mark.match(head)), None)
    return None if kind is None else f"this is {kind.name}: {_advice(kind.advice, path)}"


def _advice(text: str, path: AnyPath) -> str:
    return text.replace("MODEL", shlex.quote(str(path)))
