"""The strategy files of pipeline stages joined: MindSpore's ``merge_pipeline_strategys``."""

from __future__ import annotations

from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import PathLike, regular
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import strategy
from msckpt_jax.visible import visible


def merge_pipeline_strategys(src_strategy_dirs: PathLike, dst_strategy_file: PathLike) -> None:
    """Join the strategy files of all pipeline stages in a folder into one.

    Names become ``<stage>-<name>``. When a stage has several files, the first counts.

    Example:
        >>> import os
        >>> os.mkdir("stages")
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.ones(4, np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "a", integrated_save=False, strategy_file="stages/a.ckpt")
        >>> ms.merge_pipeline_strategys("stages", "merged.ckpt")
        >>> list(ms.build_searched_strategy("merged.ckpt"))
        ['0-w']
    """
    folder = paths.path_of(src_strategy_dirs)
    if not folder.is_dir():
        raise NotADirectoryError(visible(f"{folder} is not a folder of strategy files"))
    files = [file for file in paths.below(folder) if file.suffix in strategy.SUFFIXES]
    if len({file.suffix for file in files}) != 1:
        endings = " or all ".join(strategy.SUFFIXES)
        raise CheckpointError(f"the strategy files must all be {endings}", file=folder)
    stages: dict[int, strategy.Strategy] = {}
    for file in files:
        layouts, stage = strategy.read(regular(file))
        stages.setdefault(stage, layouts)
    joined = {f"{s}-{n}": layout for s, part in stages.items() for n, layout in part.items()}
    strategy.write(dst_strategy_file, joined, staged=True)
