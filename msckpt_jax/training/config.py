"""``CheckpointConfig``: the times of a run's saves, the files to keep, and how to write them."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax import arguments, display, names
from msckpt_jax.api import save as saving
from msckpt_jax.api.save_options import check_options
from msckpt_jax.checkpoint import formats, leaves, owner

_COUNTERS = ("epoch_num", "step_num")
#: Arguments of save_checkpoint that a run sets anew for every file.
_PER_FILE = {"save_obj", "ckpt_file_name", "append_dict"}
#: A rule of ``keep_every``: a number of steps, or a time.
Every: TypeAlias = int | datetime.timedelta


class _Default(int):
    """A default that can be told from the same number given by the caller."""


class Best(NamedTuple):
    """Keep the ``number`` files with the best ``metric``, however old they are."""

    metric: str
    mode: str
    number: int


class CheckpointConfig:
    """The policies of a :class:`ModelCheckpoint`, with MindSpore 2.10's names and defaults.

    Between two policies of a kind the first wins when both are *given*. In MindSpore the defaults
    ``save_checkpoint_steps=1`` and ``keep_checkpoint_max=5`` win, too, so that its tutorial's
    ``CheckpointConfig(save_checkpoint_seconds=30, keep_checkpoint_per_n_minutes=3)`` saves every
    step there and keeps five files; here it does what it says. An overruled policy reads as None.

    Args:
        save_checkpoint_steps: save every so many steps.
        save_checkpoint_seconds: save at the first step for which more seconds have passed since
            the last save. With 0 or None for both, only the last step is saved.
        keep_checkpoint_max: keep so many of the newest files. 0 stands for 1, as in MindSpore;
            None keeps all.
        keep_checkpoint_per_n_minutes: among the files younger than n minutes keep the oldest and
            the newest, which leaves about one file for every n minutes.
        integrated_save: False writes ``rank_N/<name>`` and ``<prefix>_strategy.ckpt``.
        async_save: ``True``/``"thread"`` or ``"process"``: training goes on while the file is
            written. An error is raised by the next save, or when the run ends.
        saved_network: the part of the state to save: the path of a sub-tree (``"params"``; names
            in the file start below it), a function that takes the state and returns the part, or an
            nnx object.
        append_info: list of ``"epoch_num"``, ``"step_num"`` and dicts of further entries. Dicts
            are read at each save, so that changed values are saved. A number that a dict has
            under one of the two names is added to that counter, as in MindSpore.
        enc_key, enc_mode, crc_check, format: as in :func:`save_checkpoint`.
        exception_save: any exception in the run, KeyboardInterrupt and SIGTERM included, writes
            ``prefix-epoch_step_breakpoint.ckpt`` before it goes on.
        remove_redundancy: each distinct shard is written by one rank only (never merged).
        keep_best: ``(metric, "min" or "max", number)``: keep, too, so many of the saved files with
            the best ``metric`` that :meth:`ModelCheckpoint.step` was given.
        keep_every: keep some files for good: 1000 the first that is saved at or after each
            thousandth step of the training, ``datetime.timedelta(hours=6)`` the first, and then
            the first that is saved six hours or more after the last one kept so. Or a sequence of
            such rules. A file stays if any policy keeps it.
        keep_earlier_runs: True never touches files of earlier runs. A run that finds some writes
            under a prefix of its own (``net_1-...``, as MindSpore does), so that each restart
            leaves up to ``keep_checkpoint_max`` files more. False lets the new run's policies
            choose among the files of earlier runs of this prefix, breakpoints included, as if it
            had saved them (their metrics are not known, so that none is among the best; nor is the
            number of a step in the training, in an epoch after the first, without
            ``batches_per_epoch``: ``keep_every`` then keeps the file). They are deleted when the
            first new file is complete. Not for two runs of a prefix at the same time.
        stale_seconds: when a run begins it removes temporary files of dead processes: on this host
            at once, of another host when they were not written to for so many seconds.
        **save_options: further arguments of :func:`save_checkpoint`.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value; all four policies are off.

    Example:
        >>> config = ms.CheckpointConfig(save_checkpoint_steps=100, keep_checkpoint_max=3)
        >>> config.save_checkpoint_steps, config.keep_checkpoint_max
        (100, 3)
    """

    def __init__(
        self,
        save_checkpoint_steps: int | None = _Default(1),
        save_checkpoint_seconds: int | None = _Default(0),
        keep_checkpoint_max: int | None = _Default(5),
        keep_checkpoint_per_n_minutes: int | None = _Default(0),
        integrated_save: bool = True,
        async_save: bool | str = False,
        saved_network: Any = None,
        append_info: Sequence[str | Mapping[str, Any]] | None = None,
        enc_key: bytes | None = None,
        enc_mode: str = "AES-GCM",
        exception_save: bool = False,
        crc_check: bool = False,
        remove_redundancy: bool = False,
        format: str = formats.DEFAULT,
        *,
        keep_best: tuple[str, str, int] | None = None,
        keep_every: Every | Sequence[Every] = (),
        keep_earlier_runs: bool = True,
        stale_seconds: float = owner.STALE_SECONDS,
        **save_options: Any,
    ):
        steps = _count("save_checkpoint_steps", save_checkpoint_steps)
        seconds = _count("save_checkpoint_seconds", save_checkpoint_seconds)
        most = _count("keep_checkpoint_max", keep_checkpoint_max)
        minutes = _count("keep_checkpoint_per_n_minutes", keep_checkpoint_per_n_minutes)
        if not (steps or seconds or most or minutes):
            raise ValueError(
                "save_checkpoint_steps, save_checkpoint_seconds, keep_checkpoint_max and "
                "keep_checkpoint_per_n_minutes are all None or 0: give one of them"
            )
        self.save_checkpoint_steps, self.save_checkpoint_seconds = _policy(steps, seconds)
        if most == 0 and not minutes:
            most = 1
        self.keep_checkpoint_max, self.keep_checkpoint_per_n_minutes = _policy(most, minutes)
        self.keep_best = None if keep_best is None else _best(keep_best)
        self.keep_every = _every(keep_every)
        self.keep_earlier_runs = _flag("keep_earlier_runs", keep_earlier_runs)
        self.stale_seconds = _seconds("stale_seconds", stale_seconds)
        self.saved_network = _part(saved_network)
        self.append_info = _info(append_info)
        self.exception_save = _flag("exception_save", exception_save)
        self.remove_redundancy = _flag("remove_redundancy", remove_redundancy)
        self.integrated_save = _flag("integrated_save", integrated_save) and not remove_redundancy
        self.async_save, self.format, self.crc_check = async_save, format, crc_check
        mode = check_options(async_save, None, enc_key, enc_mode, None, crc_check, format)
        self.enc_key = None if mode is None else mode.check_key(enc_key, "enc_key")
        self.enc_mode = enc_mode
        self._more = _further(save_options)

    def __repr__(self) -> str:
        default = vars(CheckpointConfig())
        given = {k: v for k, v in vars(self).items() if k != "_more" and v != default[k]}
        return display.call("CheckpointConfig", given | self._more)

    @property
    def append_dict(self) -> dict[str, Any] | None:
        """The entries that ``append_info`` adds, counters at their start values; or None."""
        out: dict[str, Any] = {e: 0 for e in self.append_info if isinstance(e, str)}
        for entry in self.append_info:
            out |= entry if isinstance(entry, Mapping) else {}
        return out or None

    @property
    def keeps_by_time(self) -> bool:
        """True where the files that are kept depend on when they were saved."""
        timed = any(isinstance(rule, datetime.timedelta) for rule in self.keep_every)
        return timed or bool(self.keep_checkpoint_per_n_minutes)

    def append_values(self, epoch: int, step: int) -> dict[str, Any] | None:
        """The entries of :attr:`append_dict` after ``step`` steps in all, in the given epoch."""
        out = self.append_dict
        if out is not None:
            for name, value in zip(_COUNTERS, (epoch, step), strict=True):
                if name in out:
                    out[name] += value
        return out

    def get_checkpoint_policy(self) -> dict[str, Any]:
        """The policies as a dict, as MindSpore's method of this name gives them."""
        return {
            "save_checkpoint_steps": self.save_checkpoint_steps,
            "save_checkpoint_seconds": self.save_checkpoint_seconds,
            "keep_checkpoint_max": self.keep_checkpoint_max,
            "keep_checkpoint_per_n_minutes": self.keep_checkpoint_per_n_minutes,
            "saved_network": self.saved_network,
        }

    @property
    def save_options(self) -> dict[str, Any]:
        """The arguments of :func:`save_checkpoint` that are the same for all files of a run."""
        return {
            "integrated_save": self.integrated_save,
            "async_save": self.async_save,
            "enc_key": self.enc_key,
            "enc_mode": self.enc_mode,
            "crc_check": self.crc_check,
            "format": self.format,
            "remove_redundancy": self.remove_redundancy or None,
        } | self._more


def _count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int or None, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must be 0 or more, not {value}")
    return value


def _policy(first: int | None, second: int | None) -> tuple[int | None, int | None]:
    """Keep one policy: the first if it was given, else the second, else the first's default."""
    if second and (not first or isinstance(first, _Default)):
        return None, second
    return (int(first) if first else None), None


def _flag(name: str, value: Any) -> bool:
    arguments.flags(**{name: value})
    return value


def _best(value: Any) -> Best:
    wanted = 'keep_best must be like ("loss", "min", 3)'
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise TypeError(f"{wanted}, not {value!r}")
    best = Best(*value)
    if not isinstance(best.metric, str):
        raise TypeError(f"{wanted}: the metric's name must be str, not {best.metric!r}")
    if best.mode not in ("min", "max"):
        raise ValueError(f"{wanted}: the mode must be 'min' or 'max', not {best.mode!r}")
    if not _count("the number of keep_best", best.number):
        raise ValueError(f"{wanted}: the number must be 1 or more, not {best.number!r}")
    return best


def _every(value: Any) -> tuple[Every, ...]:
    rules = tuple(value) if isinstance(value, list | tuple) else (value,)
    for rule in rules:
        if not isinstance(rule, Every) or isinstance(rule, bool):
            raise TypeError(
                "keep_every must be a number of steps, a datetime.timedelta, or a sequence of "
                f"such, not {rule!r}"
            )
        if not (rule > datetime.timedelta(0) if isinstance(rule, datetime.timedelta) else rule > 0):
            raise ValueError(f"keep_every must be more than 0, not {rule!r}")
    return rules


def _seconds(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name} must be more than 0, not {value}")
    return float(value)


def _part(value: Any) -> str | Callable[[Any], Any] | Any:
    if value is None or isinstance(value, str) or names.is_module(value) or callable(value):
        return value
    raise TypeError(
        "saved_network must be the path of a sub-tree, a function of the state, or an nnx object, "
        f"not {type(value).__name__}: a tree that is given once does not change with training"
    )


def _info(value: Any) -> list[str | Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise TypeError(f"append_info must be a list, not {type(value).__name__}")
    for entry in value:
        if isinstance(entry, Mapping):
            leaves.of_append(entry)  # refuse now what could not be saved later
        elif not isinstance(entry, str):
            raise TypeError(f"append_info holds str and dict, not {type(entry).__name__}")
        elif entry not in _COUNTERS:
            raise ValueError(f"append_info may name {' and '.join(_COUNTERS)}, not {entry!r}")
    return list(value)


def _further(options: dict[str, Any]) -> dict[str, Any]:
    known = set(inspect.signature(saving.save_checkpoint).parameters) - _PER_FILE
    if options.get("max_shard_size") is not None:
        raise ValueError(
            "max_shard_size= is not for the files of a run: call save_checkpoint with it when the "
            "run ends, or `msckpt convert FILE FOLDER --max-shard-size`"
        )
    for name in options:
        if name not in known:
            own = list(inspect.signature(CheckpointConfig).parameters)[:-1]
            allowed = ", ".join([*own, *sorted(known - set(own))])
            raise TypeError(f"CheckpointConfig has no argument {name!r}; it has {allowed}")
    return options
