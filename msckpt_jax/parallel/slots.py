"""The slots of a round, and how they get to the other members of a party.

A collective operation carries them. Where all members run on one machine they lie in memory of the
receiver that the others reach, and sockets carry the heads alone: who has the heads of a round
knows that its slots are full. There the members may as well fill the whole room of a receiver
together, in which case nothing has to be put together from slots. Each member has room for two
rounds. That of a round is filled again when the heads of the next one are there, which no member
sends before it has taken what it got.
"""

from __future__ import annotations

import contextlib
import functools
import math
import mmap
import os
import secrets
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax.lazy import jax

#: The bytes at the beginning of a slot, which say how its sender goes on.
HEAD_BYTES = 16
#: The seconds after which a socket of this machine is taken to be none of a member.
_PATIENCE = 60.0
#: What Linux tells of the other end of a link: process, user and group.
_PEER = struct.Struct("3i")


class Slots(NamedTuple):
    """A slot for each member, or from each: the heads, and the contents."""

    heads: np.ndarray
    contents: Sequence[np.ndarray]


class Carried:
    """Slots that a collective operation carries.

    Attributes:
        sent: the slots to be filled for the next round.
        rooms: the memory that this process fills directly, by member: its own.
    """

    def __init__(self, members: tuple[int, ...], me: int, nbytes: int):
        self._members = members
        slots = np.zeros((len(members), HEAD_BYTES + nbytes), np.uint8)
        self._slots, self.sent = slots, _divided(slots)
        self.rooms = {me: np.empty(len(members) * nbytes, np.uint8)}

    def swapped(self) -> Slots:
        """Send the slots, and return those of the others for this process."""
        return _divided(_swapped(self._members, self._slots))

    def close(self) -> None:
        """Nothing is left to close."""


class Shared:
    """Slots in memory that the members share.

    ``memories`` are those of all members, by round, sender and byte; ``links`` lead to the others,
    by their places among the members.

    Attributes:
        sent: the slots to be filled for the next round.
        rooms: all slots of a receiver as one, by member, for the next round.
    """

    def __init__(
        self,
        members: Sequence[int],
        at: int,
        memories: Sequence[np.ndarray],
        links: Mapping[int, socket.socket],
    ):
        self._members, self._at, self._memories, self._links = members, at, memories, links
        self._heads = np.zeros((len(memories), HEAD_BYTES), np.uint8)
        self._got, self._awaited = self._heads, dict[int, socket.socket]()
        self._begin(0)

    def _begin(self, turn: int) -> None:
        self._turn = turn
        self.sent = Slots(self._heads, [memory[turn, self._at] for memory in self._memories])
        rooms = (memory[turn].reshape(-1) for memory in self._memories)
        self.rooms = dict(zip(self._members, rooms, strict=True))

    def swapped(self) -> Slots:
        """Tell that the slots are full, and return those of the others for this process.

        Raises:
            TimeoutError: another member takes long. Call it again.
            ConnectionError: another member is gone.
        """
        if not self._awaited:
            self._got, self._awaited = self._heads.copy(), {**self._links}
            for other, link in self._links.items():
                link.sendall(self._heads[other].tobytes())
        for other, link in self._links.items():
            if other in self._awaited:
                self._got[other] = np.frombuffer(_received(link, HEAD_BYTES), np.uint8)
                del self._awaited[other]
        got = Slots(self._got, [*self._memories[self._at][self._turn]])
        self._begin(self._turn ^ 1)
        return got

    def close(self) -> None:
        """Leave the party; who waits for this member gets an error."""
        for link in self._links.values():
            with contextlib.suppress(OSError):  # the other member has left
                link.shutdown(socket.SHUT_RDWR)
            link.close()


def between(
    members: tuple[int, ...], me: int, nbytes: int, patience: float | None = None
) -> Carried | Shared:
    """The slots of a party, with contents of ``nbytes``; all members call it together.

    ``patience`` is the number of seconds after which those in shared memory give up to wait.
    """
    if len(members) == 1:
        return Carried(members, me, nbytes)
    at, shape = members.index(me), (2, len(members), nbytes)
    with contextlib.ExitStack() as made, contextlib.ExitStack() as linked:
        mine = _offer(shape, made)
        names = _told(members, np.array(mine.name if mine else "", "S32"))
        links = _connected(mine, at, names[:at].tolist(), linked) if mine else None
        if not _told(members, np.array(links is not None, np.uint8)).all():
            return Carried(members, me, nbytes)
        assert mine is not None
        assert links is not None
        memories = {at: mine.memory}
        for other, link in links.items():
            memories[other] = _memory(link, shape)[1]
        for _ in range(at + 1, len(members)):
            link = _accepted(mine, linked)
            other, memories[other] = _memory(link, shape)
            _send(link, at, mine)
            links[other] = link
        for link in links.values():
            link.settimeout(patience)
        linked.pop_all()
    return Shared(members, at, [memories[each] for each in range(len(members))], links)


class _Offer(NamedTuple):
    """The memory of a member, and the socket by which the others get its descriptor.

    Neither has a name in a file system: they go with their last process, also after a kill.
    """

    memory: np.ndarray
    fd: int
    listener: socket.socket
    name: str


def _offer(shape: tuple[int, ...], made: contextlib.ExitStack) -> _Offer | None:
    """The offer of this process; None where the system has no such memory, or too little."""
    if not hasattr(os, "memfd_create"):
        return None
    name, nbytes = f"msckpt-{secrets.token_hex(12)}", math.prod(shape)
    try:
        fd = os.memfd_create("msckpt")
        made.callback(os.close, fd)
        os.posix_fallocate(fd, 0, nbytes)  # an error here, and no signal later
        memory = np.frombuffer(mmap.mmap(fd, nbytes), np.uint8).reshape(shape)
        listener = made.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"\0{name}")
        listener.listen(shape[1])
        listener.settimeout(_PATIENCE)
    except OSError:
        return None
    return _Offer(memory, fd, listener, name)


def _connected(
    mine: _Offer, at: int, names: Sequence[bytes], linked: contextlib.ExitStack
) -> dict[int, socket.socket] | None:
    """Links to the members before this one; None if one of them is on another machine."""
    links: dict[int, socket.socket] = {}
    try:
        for other, name in enumerate(names):
            if not name:
                return None
            links[other] = link = linked.enter_context(socket.socket(socket.AF_UNIX))
            link.settimeout(_PATIENCE)
            link.connect(b"\0" + name)
            _send(link, at, mine)
    except OSError:
        return None
    return links


def _accepted(mine: _Offer, linked: contextlib.ExitStack) -> socket.socket:
    """A link from a member after this one; other users are turned away."""
    while True:
        link = linked.enter_context(mine.listener.accept()[0])
        link.settimeout(_PATIENCE)
        about = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        if _PEER.unpack(about)[1] == os.geteuid():
            return link
        link.close()


def _send(link: socket.socket, at: int, mine: _Offer) -> None:
    socket.send_fds(link, [at.to_bytes(8, "little")], [mine.fd])


def _memory(link: socket.socket, shape: tuple[int, ...]) -> tuple[int, np.ndarray]:
    """The place of a member in the party, and its memory."""
    number, fds, _, _ = socket.recv_fds(link, 8, 1)
    if not fds:
        raise ConnectionError("another process has left")
    try:
        memory = mmap.mmap(fds[0], math.prod(shape))
    finally:
        os.close(fds[0])
    return int.from_bytes(number, "little"), np.frombuffer(memory, np.uint8).reshape(shape)


def _received(link: socket.socket, nbytes: int) -> bytes:
    data = link.recv(nbytes, socket.MSG_WAITALL)
    if len(data) < nbytes:
        raise ConnectionError("another process has left")
    return data


def _told(members: tuple[int, ...], answer: np.ndarray) -> np.ndarray:
    """The answers of all members, each of which tells the same to every other."""
    data = np.frombuffer(answer.tobytes(), np.uint8)
    every = _swapped(members, np.tile(data, (len(members), 1)))
    return np.ascontiguousarray(every).view(answer.dtype).reshape(-1)


def _divided(slots: np.ndarray) -> Slots:
    return Slots(slots[:, :HEAD_BYTES], [*slots[:, HEAD_BYTES:]])


def _swapped(members: tuple[int, ...], slots: np.ndarray) -> np.ndarray:
    """The slots that each member has for this process, which has one for each of them."""
    if len(members) == 1:
        return slots
    program, sharding, device = _program(members)
    mine = jax.device_put(slots, device)
    shape = (len(members) * slots.shape[0], slots.shape[1])
    every = jax.make_array_from_single_device_arrays(shape, sharding, [mine])
    return np.asarray(program(every).addressable_data(0))


@functools.lru_cache(256)
def _program(members: tuple[int, ...]) -> tuple[Any, jax.sharding.Sharding, Any]:
    """The collective operation of a device of each member, and the device of this process."""
    devices = [_first_device(process) for process in members]
    mesh = jax.sharding.Mesh(np.array(devices), ("process",))
    spec = jax.P("process")

    def swap(slots: jax.Array) -> jax.Array:
        return jax.lax.all_to_all(slots, "process", 0, 0, tiled=True)

    program = jax.jit(jax.shard_map(swap, mesh=mesh, in_specs=spec, out_specs=spec))
    return program, jax.NamedSharding(mesh, spec), _first_device(jax.process_index())


@functools.cache
def _first_device(process: int) -> Any:
    return next(d for d in jax.devices() if d.process_index == process)
