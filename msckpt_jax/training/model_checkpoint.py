"""``ModelCheckpoint``: save while a training loop runs, one call a step."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple

from msckpt_jax import names
from msckpt_jax.api import background
from msckpt_jax.api import save as saving
from msckpt_jax.api.background import AsyncSave
from msckpt_jax.checkpoint import atomic, paths
from msckpt_jax.checkpoint.paths import AnyPath, PathLike
from msckpt_jax.parallel import ranks, strategy
from msckpt_jax.training import arguments, filenames, retention, selection
from msckpt_jax.training.completion import Completion
from msckpt_jax.training.config import CheckpointConfig
from msckpt_jax.training.local import Local, local_of
from msckpt_jax.training.position import Position
from msckpt_jax.training.preemption import Preemption, Run
from msckpt_jax.training.resume import Resumed
from msckpt_jax.training.retention import Saved
from msckpt_jax.training.schedule import Schedule
from msckpt_jax.visible import log, visible


class _Told(NamedTuple):
    """What the loop has told last: one object, so that no signal comes between its parts."""

    state: Any
    metric: Any
    position: Position
    steps: int


class ModelCheckpoint:
    """Saves the state of a training loop by the policies of a :class:`CheckpointConfig`.

    ::

        config = CheckpointConfig(save_checkpoint_steps=32, keep_checkpoint_max=10)
        with ModelCheckpoint("resnet50", "ckpts", config) as ckpt:
            for epoch, batches in ...:
                for batch in batches:
                    state, loss = train_step(state, batch)
                    ckpt.step(state, epoch=epoch, metric=loss)

    Files are ``prefix-epoch_step.ckpt`` with the step within the epoch, both from 1; with MindSpore
    2.10's suffix ``prefix_1-...``, ``prefix_2-...`` when the folder holds files of earlier runs.
    When the block ends, the last step is saved unless it has been, and saves under way are waited
    for. An old file is deleted only when the new file is complete and durable (MindSpore deletes
    first); ``_breakpoint`` files are never touched, nor are files of other runs unless
    ``keep_earlier_runs`` is false. Only the owner can read the files, and nobody can write them, as
    in MindSpore.

    An exception in the block is never replaced: a failure while it is handled becomes a note on it.
    With ``exception_save`` it first writes ``prefix-epoch_step_breakpoint.ckpt``: the state given
    last, under that step's numbers (an interrupted step may have taken its buffers by donation:
    then the note says so).

    SIGTERM and Ctrl-C, with ``exception_save``, take effect when the step under way calls
    :meth:`step`, whose state is saved before ``SystemExit(143)`` or ``KeyboardInterrupt``. If no
    step comes for half of ``preemption_grace_seconds`` (the loop evaluates, waits for data or is in
    a long step) the state given last is saved, if it can still be read. If it was donated since,
    the next step is waited for until the grace is over; then the run ends, and the log says that
    nothing was saved. A tree or module that the loop changes in place is saved as it is then: tell
    its step at once after the change. Before the first step, only ``state`` can be saved; without
    it a signal takes effect at once. Saves under way end first. A second signal takes effect at
    once. When the block ends by itself, its last step is saved as ever, then the signal has its
    effect. Handlers of others are called too, with the first signal; what they raise is raised when
    the state is saved.

    Under ``jax.distributed`` make the same calls in every process. With arrays that span processes
    save by steps, not by seconds. A signal to one process counts for all: they agree on the next
    step that all reach, save it together, and leave with the signal's status. Without such a step
    within the grace they end, and nothing is saved.

    Args:
        prefix: start of the file names, without "/".
        directory: folder for the files, created if missing; None: the current one. In an object
            store a small object is written and removed again, to see now that it can be.
        config: the policies; None: MindSpore's defaults.
        batches_per_epoch: the number of steps of an epoch, if it is known: with it :meth:`step`
            counts the numbers that it is not given.
        resumed: the result of :func:`resume`, from whose numbers the run goes on.
        state: the state before the first step, or a function that returns it, for an interruption
            until then.
        preemption_grace_seconds: the seconds from a signal until the machine is gone. Most clouds
            and schedulers give 30 or more.
        clock: returns seconds, for the policies by time.
        local: a folder on each machine's own disk or in its memory (``/dev/shm/net``) that keeps
            the newest of every ``local_steps`` steps for :func:`resume`, and has room for two.
            Every part of the state lies on two machines: what only one holds is sent to the next
            one while the step is saved, with collective operations, so that training waits for it
            whatever ``async_save`` says. With one machine there is one copy. The step before stays
            until the new one is whole on all machines; at a good end nothing stays. Not encrypted.
        local_steps: the number of steps from one local step to the next.

    Raises:
        StoreError: the object store cannot be reached, or does not let us write.
        TypeError, ValueError: an argument of the wrong type or value.

    Example:
        >>> import os
        >>> config = ms.CheckpointConfig(save_checkpoint_steps=2, keep_checkpoint_max=1)
        >>> with ms.ModelCheckpoint("net", "ckpts", config, batches_per_epoch=4) as checkpoint:
        ...     for number in range(4):
        ...         checkpoint.step({"w": np.full(2, number, np.float32)})
        >>> os.listdir("ckpts")
        ['net-1_4.ckpt']
    """

    def __init__(
        self,
        prefix: str = "CKP",
        directory: PathLike | None = None,
        config: CheckpointConfig | None = None,
        *,
        batches_per_epoch: int | None = None,
        resumed: Resumed | None = None,
        clock: Callable[[], float] = time.monotonic,
        local: PathLike | None = None,
        local_steps: int | None = None,
        state: Any = None,
        preemption_grace_seconds: float = 30.0,
    ):
        arguments.check(prefix, directory, config, batches_per_epoch, resumed, clock)
        self._preemption = Preemption(arguments.seconds(preemption_grace_seconds))
        self.config = CheckpointConfig() if config is None else config
        self.directory = paths.path_of("." if directory is None else directory)
        atomic.make_folder(self.directory)
        paths.check_writable(self.directory)
        filenames.sweep(self.directory, self.config.stale_seconds)
        self.prefix = filenames.own_prefix(self.directory, prefix)
        self._base = prefix
        self._per_epoch = batches_per_epoch
        self._clock = clock
        self._schedule = Schedule(
            self.config.save_checkpoint_steps, self.config.save_checkpoint_seconds, clock
        )
        self._completion = Completion(self.config)
        self._local = local_of(local, local_steps, prefix, self.directory, self.config)
        position = Position()
        if resumed is not None:
            total = resumed.append.get("step_num")
            position = Position.of_file(resumed.epoch, resumed.step, total, batches_per_epoch)
        self._start = position.total
        self._told = _Told(state, None, position, 0)
        self._saved = 0
        self._prepared = self._together = False

    @property
    def latest_ckpt_file_name(self) -> str | None:
        """The newest complete CheckPoint of this run; for rank files, the first of this process."""
        return self._completion.latest

    @property
    def best_ckpt_file_name(self) -> str | None:
        """The best complete CheckPoint of this run by ``keep_best``."""
        return self._completion.best

    def step(
        self,
        state: Any,
        epoch: int | None = None,
        step: int | None = None,
        metric: float | Mapping[str, Any] | None = None,
    ) -> None:
        """Tell of a finished step, and save it if the policy says so.

        A step that is not saved costs a few integer operations: nothing waits for a device. Only
        references are kept. A call counts as one step, or as many as the given numbers say.

        Args:
            state: a state that :func:`save_checkpoint` takes, or a function that returns it, which
                is called for each save. A state whose buffers the next step takes (donation) can
                be saved until then. For an interruption in the midst of a step give a function
                (``lambda: state``): it returns the loop's variable as it then is, which may be
                the state one step on.
            epoch: the number of the epoch. By default it is counted with ``batches_per_epoch``,
                else it stays as it was.
            step: the number of the step within the epoch, or in all if ``epoch`` is not given. With
                ``batches_per_epoch`` numbers beyond an epoch are taken modulo it. By default it is
                counted. Pass ints: a number on a device would be waited for.
            metric: a number, or several by name, for ``keep_best``. It is read (and waited for)
                only when the step is saved; NaN and None are never among the best.

        Raises:
            AsyncSaveError: the previous asynchronous save failed; this step was not saved.
            CheckpointError, OSError: as :func:`save_checkpoint`.
            SystemExit, KeyboardInterrupt: a signal came during this step, with ``exception_save``.
        """
        before = self._told
        position = before.position.after(epoch, step, self._per_epoch)
        count = before.steps + max(1, position.total - before.position.total)
        self._told = _Told(state, metric, position, count)
        self._preemption.step(count)
        if self._local is not None and self._local.due(count):
            self._save_local(self._local)
            self._preemption.between()
        if self._schedule.due(count):
            self.save()
            self._preemption.between()

    def save(self) -> None:
        """Save the last step now, unless it has been saved. Raises as :meth:`step` does."""
        if self._saved == self._told.steps:
            return
        with self._preemption.saving():
            self._completion.settle()
            tree = self._tree()
            self._prepare(tree)
            metric = selection.metric_value(self._told.metric, self.config.keep_best)
            path, now = self.directory / self._name(), self._now()
            handle = self._write(tree, path)
            files = self._files(path, tree)
            self._saved = self._told.steps
            self._schedule.saved(self._saved)
            total = int(self._told.position.total)
            self._completion.begun(Saved(files, now, metric, total), handle)

    def close(self) -> None:
        """Save the last step unless it has been saved, and wait for saves under way.

        The ``with`` block calls it at a normal end. Raises as :meth:`step` does.
        """
        try:
            self._completion.settle()
        finally:  # an earlier failure is no reason to lose the last step
            self.save()
            self._completion.finish()
        if self._local is not None and self._saved:
            self._local.clear()

    def __repr__(self) -> str:
        epoch, step, _ = self._told.position
        where = f"at step {step} of epoch {epoch}" if self._told.steps else "before its first step"
        newest = f", newest file {self.latest_ckpt_file_name}" * bool(self.latest_ckpt_file_name)
        files = f"{self.directory}/{self.prefix}"
        return visible(f"<ModelCheckpoint of {files}: {where}{newest}, {self.config!r}>")

    def __enter__(self) -> ModelCheckpoint:
        if self.config.exception_save:
            self._preemption.install(Run(self._begun, self._alive, self._save_breakpoint))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._preemption.end()
            with self._preemption.saving():
                if error is None:
                    self.close()
                else:
                    self._interrupted(error)
        finally:
            self._preemption.restore()
        self._preemption.pass_on(error)

    def _interrupted(self, error: BaseException) -> None:
        with _noted(error, f"the save of {self._completion.under_way}"):
            self._completion.finish()
        with _noted(error, "an earlier save"):  # else it would refuse the breakpoint
            background.settle()
        if not self.config.exception_save or self._preemption.saved:
            return
        reason = self._no_breakpoint()
        if reason:
            signalled = self._preemption.received is not None
            log.log(logging.WARNING if signalled else logging.DEBUG,
                    "no breakpoint was saved: %s", reason)  # fmt: skip
            return
        with _noted(error, f"the breakpoint {self._breakpoint}"):
            self._save_breakpoint()

    def _no_breakpoint(self) -> str | None:
        if not self._begun():
            return "no step was told, and ModelCheckpoint was given no state="
        if self._preemption.gave_up and self._spans(self._tree()):
            return "the processes came to no common step"
        return None

    def _begun(self) -> bool:
        return self._told.steps > 0 or self._told.state is not None

    def _alive(self) -> bool:
        try:
            self._tree()
        except Exception:
            return False
        return True

    def _tree(self) -> Any:
        return selection.selected(self._told.state, self.config.saved_network)

    @property
    def _breakpoint(self) -> AnyPath:
        return self.directory / self._name(breakpoint=True)

    def _save_breakpoint(self) -> None:
        changed: dict[str, Any] = {"async_save": False}
        seconds = self._preemption.seconds_left()
        if seconds is not None:
            changed["timeout"] = seconds
        tree, path = self._tree(), self._breakpoint
        self._write(tree, path, **changed)
        self._completion.protect(self._files(path, tree))

    def _name(self, breakpoint: bool = False) -> str:
        epoch, step, _ = self._told.position
        return filenames.make(self.prefix, epoch, step, self.config.format, breakpoint)

    def _write(self, tree: Any, path: AnyPath, **changed: Any) -> AsyncSave | None:
        options: dict[str, Any] = self.config.save_options | changed
        if not self.config.integrated_save:
            options.setdefault("strategy_file", self.directory / f"{self.prefix}_{strategy.FILE}")
        epoch, _, total = self._told.position
        append = self.config.append_values(int(epoch), int(total))
        return saving.save_checkpoint(tree, str(path), append_dict=append, **options)

    def _files(self, path: AnyPath, tree: Any) -> tuple[AnyPath, ...]:
        """The files that a save to ``path`` has written in this process, or will have written."""
        if self.config.integrated_save:
            return (path,)
        values = [leaf.value for leaf in names.named_leaves(tree)]
        return tuple(ranks.rank_path(path, rank) for rank in ranks.local(values))

    @staticmethod
    def _spans(tree: Any) -> bool:
        """Tell whether arrays span processes."""
        values = [leaf.value for leaf in names.named_leaves(tree)]
        return not all(getattr(value, "is_fully_addressable", True) for value in values)

    def _agree(self, tree: Any) -> None:
        """Agree on a prefix: a process may have looked into the folder after another had saved.

        Raises:
            ValueError: arrays span processes, but each would save by its own clock.
        """
        if not self._spans(tree):
            return
        if self.config.save_checkpoint_seconds:
            raise ValueError(
                "save_checkpoint_seconds cannot be used with arrays that span processes, whose "
                "clocks differ: use save_checkpoint_steps"
            )
        self.prefix = filenames.agreed_prefix(self._base, self.prefix)
        self._together = True

    def _save_local(self, local: Local) -> None:
        with self._preemption.saving():
            tree, position = self._tree(), self._told.position
            self._prepare(tree)
            append = self.config.append_values(int(position.epoch), int(position.total))
            local.save(tree, append, self.prefix, position)
            local.saved(self._told.steps)

    def _prepare(self, tree: Any) -> None:
        """Do what the first save of a run needs, on all processes together."""
        if not self._prepared:
            self._agree(tree)
            if not self.config.keep_earlier_runs:
                where = self.directory, self._base, self.prefix
                self._completion.earlier(retention.earlier(*where, self._per_epoch, self._now()))
            self._completion.begin(self._start)
            self._prepared = True

    def _now(self) -> float:
        """The time of a save, the same on all processes, which delete files by it."""
        now = self._clock()
        return filenames.agreed_time(now) if self._together and self.config.keeps_by_time else now


@contextlib.contextmanager
def _noted(error: BaseException, work: str) -> Any:
    """Make a failure in the block a note on ``error``, which is on its way already."""
    try:
        yield
    except Exception as failure:
        note = visible(f"msckpt_jax: {work} failed: {type(failure).__name__}: {failure}")
        error.add_note(note)
        log.warning("%s", note)
