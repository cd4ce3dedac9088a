"""Sees that all processes of a training are alike and still run.

A lost machine sends nothing more, so gloo and NCCL would wait for it for ten minutes and longer. Here the first process
holds a connection to each of the others, and the kernel tells within seconds that one has ended.
"""

import importlib.metadata
import json
import os
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from torch.distributed import DistError, destroy_process_group, is_initialized
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from stages.model.addresses import LOOPBACK, is_loopback, local_address, use_interface
from stages.model.messages import Message, keep_alive, receive, send
from stages.model.processes import process_count
from stages.run import others
from stages.run.code import hash_files, loaded_files, shortened
from stages.run.errors import UserError
from stages.run.log import escaped
from stages.run.parent import end_with_parent
from stages.run.work import WORK

START_SECONDS = 300.0  # until all processes have imported their libraries
AGREE_TIMEOUT = timedelta(hours=1)  # until each process has read the model once
SHARE_SECONDS = 60.0  # until a new file shows on another host: folders of NFS are looked up again after 30 s
HELLO_SECONDS = 5.0
GRACE = 3.0  # seconds in which a process that failed, or its launcher, says why
PACKAGES = ("torch", "transformers", "accelerate", "deepspeed", "peft")
BY_DEEPSPEED = "CROSS_RANK"  # an environment variable that DeepSpeed's launcher sets


@dataclass(frozen=True)
class Peer:
    """A process of the training, with versions of its files and packages."""

    rank: int
    host: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls) -> "Peer":
        """This process."""
        packages = {name: importlib.metadata.version(name) for name in PACKAGES}
        return cls(int(os.environ["RANK"]), socket.gethostname(), hash_files(loaded_files()) | packages)

    def differences(self, other: "Peer") -> list[str]:
        """What only one of the two has, or each in another version."""
        return sorted({name for name, _ in self.versions.items() ^ other.versions.items()})


class Peers:
    """The connections of this process.

    The first process has one to each other process, and each of these has one to the first.
    """

    def __init__(self, here: Peer, store: Store, connections: Mapping[int, socket.socket]) -> None:
        """`store` is the one that the processes met at."""
        self.here, self._store, self._connections = here, store, connections
        self.known: dict[int, Peer] = {}  # the processes at the other ends
        self._ends, self._says_why = threading.Event(), threading.Event()
        for connection in connections.values():
            keep_alive(connection)

    def tell(self, line: str) -> None:
        """Say why this process ends: the first one then speaks for all."""
        self._says_why.set()
        self._send({"failed": line} if self.here.rank else {"end": True})

    def explain(self) -> None:
        """Wait for word that another process is lost.

        The watch then ends this one.
        """
        if self._ends.wait(GRACE):
            time.sleep(10 * GRACE)

    def leave(self) -> None:
        """The training has ended well.

        The group is taken apart: with its threads still there, a process may abort while Python ends.
        """
        if is_initialized():
            destroy_process_group()
        self._says_why.set()
        self._send({"bye": True})
        for mark in WORK.glob("together-*") if self.here.rank == 0 else ():
            mark.unlink()

    def agree(self, work: Path, inputs: Sequence[Path]) -> None:
        """Compare the work folder of all processes.

        UserError when another host has other inputs or parameters, or a `.work` of its own.
        """
        if self.here.rank == 0:
            mark = WORK / f"together-{secrets.token_hex(8)}"
            mark.touch()
            self._store.set("work", json.dumps({"work": str(work), "mark": str(mark)}))
            return
        first, there = self.known[0].host, json.loads(self._store.get("work"))
        end = time.monotonic() + SHARE_SECONDS
        while not Path(there["mark"]).exists():
            if time.monotonic() > end:
                raise UserError(
                    f"{WORK.resolve()} is not the one of {first}, whose checkpoints this host has to read: share the "
                    "folder between the hosts (docs/cluster.md)"
                )
            time.sleep(0.2)
        if there["work"] != str(work):
            named = ", ".join(["params.yaml", *map(str, inputs)])
            raise UserError(
                f"parameters or inputs ({named}) are not those of {first}: copy them from there, or run `git pull` and "
                "`dvc checkout` on both"
            )

    def watch(self) -> None:
        """Watch the connections in a thread of their own.

        With DeepSpeed's launcher the thread also watches stderr: nobody reads it any more once the launcher is gone.
        """
        threading.Thread(target=self._watch, daemon=True).start()

    def _send(self, message: Message) -> None:
        for connection in self._connections.values():
            send(connection, message)

    def _watch(self) -> None:
        watched = {connection.fileno(): rank for rank, connection in self._connections.items()}
        poll = select.poll()
        for descriptor in watched:
            poll.register(descriptor, select.POLLIN)
        if BY_DEEPSPEED in os.environ:
            poll.register(sys.stderr.fileno(), 0)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor not in watched:
                    os._exit(1)
                rank = watched[descriptor]
                message = receive(self._connections[rank])
                if message is None or "bye" not in message:
                    return self._end(self.known[rank], message)
                poll.unregister(descriptor)

    def _end(self, peer: Peer, message: Message | None) -> None:
        """End this process, because another one has ended.

        One process of a host says why, unless the one that failed has done so.
        """
        self._ends.set()
        if self.here.rank == 0:
            self._send({"end": True})
        # The first process speaks before the others end, because their end makes a launcher end all.
        time.sleep(2 * GRACE if message == {"end": True} else GRACE)
        if self._says_why.is_set() and message is None:
            return
        if message is None:
            lost = f"process {peer.rank} on {peer.host} is lost"
            line = f"{lost}; start the same command again to go on from the last checkpoint"
        else:
            line = f"{peer.host}: {message['failed']}" if "failed" in message else ""
        if line and not self._says_why.is_set() and os.environ.get("LOCAL_RANK") == "0":
            sys.stderr.write(f"{Path(sys.argv[0]).stem}: {escaped(line)}\n")
            sys.stderr.flush()
        os._exit(1)


def meet() -> Peers | None:
    """Find the other processes of the training, and watch them.

    None for a process alone.

    UserError when not all start, or when another host has other code or packages.
    """
    world = process_count()
    if world == 1:
        return None
    end_with_parent()
    try:
        store, rank, _ = next(rendezvous("env://", timeout=timedelta(seconds=START_SECONDS)))
        peers = _first(store, world) if rank == 0 else _other(store)
    except (DistError, TimeoutError) as error:
        raise UserError(
            f"not all {world} processes met at {os.environ['MASTER_ADDR']} within {START_SECONDS:.0f} s ({error}); "
            "the log of each host says why it did not start"
        ) from None
    store.set_timeout(AGREE_TIMEOUT)
    others.join(peers)
    peers.watch()
    _refuse_differences(peers)
    return peers


def _first(store: Store, world: int) -> Peers:
    """Wait for the connections of all other processes."""
    here, token, connections, hellos = Peer.here(), secrets.token_hex(16), {}, {}
    one_host = os.environ.get("LOCAL_WORLD_SIZE") == str(world)
    with socket.create_server((LOOPBACK if one_host else "", 0)) as server:
        server.settimeout(START_SECONDS)
        address = LOOPBACK if one_host else local_address(os.environ["MASTER_ADDR"])
        # On the host of MASTER_ADDR that name may lead to a loopback address; to the others it leads here.
        reached_at = address if one_host or not is_loopback(address) else None
        where = {"address": reached_at, "port": server.getsockname()[1], "token": token}
        store.set("first", json.dumps(where))
        while len(connections) < world - 1:
            connection, _ = server.accept()
            connection.settimeout(HELLO_SECONDS)
            hello = receive(connection)
            if hello is None or hello.pop("token", None) != token:  # a stranger, such as a scan of ports
                connection.close()
                continue
            hellos[hello["rank"]], connections[hello["rank"]] = Peer(**hello), connection
    reached = [connection.getsockname()[0] for connection in connections.values()]
    outside = next((address for address in reached if not is_loopback(address)), reached[0])
    use_interface(outside)
    peers = Peers(here, store, connections)
    peers.known = hellos
    peers._send({"address": outside, "first": asdict(here)})
    return peers


def _other(store: Store) -> Peers:
    """Connect to the first process."""
    here, where = Peer.here(), json.loads(store.get("first"))
    address = (where["address"] or os.environ["MASTER_ADDR"], where["port"])
    connection = socket.create_connection(address, timeout=START_SECONDS)
    peers = Peers(here, store, {0: connection})
    peers._send(asdict(here) | {"token": where["token"]})
    welcome = receive(connection)
    if welcome is None:
        raise TimeoutError("the first process is gone")
    peers.known = {0: Peer(**welcome["first"])}
    own = connection.getsockname()[0]
    use_interface(welcome["address"] if is_loopback(own) else own)
    return peers


def _refuse_differences(peers: Peers) -> None:
    """UserError when a process has different code or packages from the first."""
    for peer in peers.known.values() if peers.here.rank == 0 else ():
        if different := peer.differences(peers.here):
            raise UserError(
                f"{peer.host} and {peers.here.host} have other versions of {shortened(different)}: "
                "bring both to the same commit and the same packages"
            )
