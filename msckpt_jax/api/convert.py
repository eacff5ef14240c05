"""Convert rank files and single files from one format into the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msckpt_jax import arguments
from msckpt_jax.checkpoint import copying, formats, paths
from msckpt_jax.checkpoint.file import open_checkpoint
from msckpt_jax.checkpoint.formats.format import Format
from msckpt_jax.checkpoint.paths import PathLike, regular
from msckpt_jax.checkpoint.records import File
from msckpt_jax.parallel import checks, rank_records
from msckpt_jax.visible import visible


def ckpt_to_safetensors(
    file_path: PathLike,
    save_path: PathLike | None = None,
    name_map: Mapping[str, str] | None = None,
    file_name_regex: str | None = None,
    processes_num: int = 1,
) -> None:
    """Convert a ``.ckpt`` file, or those in the ``rank*`` folders of a folder, to safetensors.

    Args:
        file_path: the file or the folder.
        save_path: folder to write to; None writes beside the source.
        name_map: old to new names of parameters.
        file_name_regex: convert only the files in whose names it matches.
        processes_num: the number of files that are converted at a time.

    Raises:
        CheckpointError: a file holds strings or is damaged. ValueError: the paths are wrong.

    Example:
        >>> ms.save_checkpoint({"w": np.ones(3, np.float32)}, "model.ckpt")
        >>> ms.ckpt_to_safetensors("model.ckpt", name_map={"w": "weight"})
        >>> ms.open_checkpoint("model.safetensors").names
        ['weight']
    """
    old, new = formats.CKPT, formats.SAFETENSORS
    _convert(file_path, save_path, name_map, file_name_regex, processes_num, old, new)


def safetensors_to_ckpt(
    file_path: PathLike,
    save_path: PathLike | None = None,
    name_map: Mapping[str, str] | None = None,
    file_name_regex: str | None = None,
    processes_num: int = 1,
) -> None:
    """Do the reverse of :func:`ckpt_to_safetensors`, with the same arguments.

    Example:
        >>> tree = {"w": np.ones(3, np.float32)}
        >>> ms.save_checkpoint(tree, "model.safetensors", format="safetensors")
        >>> ms.safetensors_to_ckpt("model.safetensors")
        >>> ms.open_checkpoint("model.ckpt").names
        ['w']
    """
    old, new = formats.SAFETENSORS, formats.CKPT
    _convert(file_path, save_path, name_map, file_name_regex, processes_num, old, new)


def _convert(
    file_path: PathLike,
    save_path: PathLike | None,
    name_map: Mapping[str, str] | None,
    regex: str | None,
    jobs: int,
    old: Format,
    new: Format,
) -> None:
    new_names = arguments.name_map(name_map)
    checks.check_count(jobs, "processes_num")
    target = None if save_path is None else paths.path_of(save_path)
    if target is not None and target.suffix:
        raise ValueError(visible(f"save_path must be a folder, not {save_path}"))
    source = paths.path_of(file_path)
    if source.is_dir():
        root = source
        folders = [folder for folder in paths.below(source, "rank") if folder.is_dir()]
        files = [file for folder in folders for file in paths.below(folder, suffix=old.suffix)]
        files = [regular(file) for file in files]
    else:
        root, files = source.parent, [source]
    try:
        files = [f for f in files if regex is None or re.search(regex, f.name)]
    except (re.error, TypeError) as error:
        text = f"file_name_regex: {regex!r} is no regular expression: {error}"
        raise ValueError(visible(text)) from None
    if not files or any(f.suffix != old.suffix for f in files):
        raise ValueError(
            visible(f"{file_path} is no {old.suffix} file and holds none in rank* folders")
        )

    def convert_file(path: Any) -> None:
        file = open_checkpoint(path)
        records = [copying.renamed(file, name, new_names.get(name, name)) for name in file]
        folder = (target or root) / path.parent.relative_to(root)
        # A mixture of saves stays one that readers refuse.
        files = [File(folder / f"{path.stem}{new.suffix}", records)]
        rank_records.write_files(files, save=file.save)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        list(pool.map(convert_file, files))
