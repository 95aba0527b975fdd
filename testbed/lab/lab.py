"""A lab: the plan made real, from empty namespaces to a converged IGP, and gone again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from testbed import plan as plans
from testbed.errors import Problem, RequestError
from testbed.lab import links, silence, srv6
from testbed.lab.convergence import wait_for_igp
from testbed.lab.daemon import Daemon, died, dry_run, start_daemon, start_daemons, write_configs
from testbed.lab.impairments.base import Engine
from testbed.lab.impairments.choose import choose
from testbed.lab.node import Node
from testbed.lab.registry import Registry, end_processes, remove_folders
from testbed.lab.shape_check import LinkCheck, check_links
from testbed.plan.frr import RouterConfig
from testbed.plan.shape import reshaped, without_impairments
from testbed.spec.types import Impairments

_TOGETHER = 8

Progress = Callable[[str], None]


class Lab:
    """An emulated network. Used as a context manager: whatever happens inside, nothing is left behind.

    `impaired` False leaves delays, jitter and losses out (the rates stay). `impairable` names the links that may be
    given some later (`reshape`), though they begin with none. `impairments` is the engine's name, `seed` that of its
    chances. `carrier` False hides the loss of carrier: a link that goes down falls silent instead, with both ends up.
    `check`: measure whether the links are as they were asked for, before any router runs (`checked`).
    """

    def __init__(
        self,
        plan: plans.Plan,
        configs: dict[str, RouterConfig],
        *,
        impaired: bool = True,
        impairable: Collection[str] = (),
        impairments: Impairments = "auto",
        seed: str = "",
        carrier: bool = True,
        check: bool = False,
        name: str | None = None,
        progress: Progress = lambda _: None,
    ) -> None:
        self.plan = plan
        self.configs = configs
        self.impaired = impaired
        self.impairable = frozenset(impairable)
        self.impairments: Impairments = impairments
        self.seed = seed
        self.carrier = carrier
        self.engine: Engine | None = None
        self.check = check
        self.checked: dict[tuple[str, str], LinkCheck] = {}
        self.progress = progress
        self.registry = Registry(plan.topology.name, name)
        folder = self.registry.folder / "nodes"
        self.nodes = {n.name: Node(n, folder / n.name, self.registry.environment) for n in plan.nodes.values()}
        self.daemons: dict[tuple[str, str], subprocess.Popen[bytes]] = {}  # those that should be running
        self.on_restart: list[Callable[[str, str], None]] = []  # called with (node, daemon) when one runs again
        self._starters: dict[tuple[str, str], Callable[[], subprocess.Popen[bytes]]] = {}  # in their order
        self.timings: dict[str, float] = {}
        # What each direction of a link (its name, the node that sends) is like now, where that is not what was planned.
        self._reshaped: dict[tuple[str, str], plans.Shape] = {}

    @property
    def id(self) -> str:
        return self.registry.state.lab

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    @property
    def routers(self) -> tuple[Node, ...]:
        return tuple(self.nodes[n.name] for n in self.plan.routers)

    def pid_of(self, name: str) -> int:
        """A process in the namespaces of node `name`."""
        return self.nodes[name].pid

    def start(self) -> None:
        """Nodes, links, addresses, shapes, daemons, in this order; see `timings` for the seconds each took.

        Raises LabError, MachineError.
        """
        with ThreadPoolExecutor(2) as side:
            tried = side.submit(self._timed, "dry_run_s", self._dry_run)
            self.progress(f"starting {len(self.nodes)} nodes")
            self._timed("nodes_s", self._start_nodes)
            self.progress(f"connecting {len(self.plan.links)} links")
            self._timed("links_s", self._connect)
            tried.result()
        if self.check:
            self.progress("measuring the links")
            self._timed("check_s", self._check)
        self.progress(f"starting FRR on {len(self.routers)} routers")
        self._timed("daemons_s", self._start_daemons)

    def wait_for_igp(self) -> None:
        """Return once every adjacency is full and every router's kernel has every route. Raises NotConverged."""
        self.progress("waiting for OSPF")
        self._timed("igp_s", lambda: wait_for_igp(self.plan, self.nodes, srv6=self._srv6))

    def folder(self, name: str) -> Path:
        """A folder of the lab's own, for small files."""
        path = self.registry.folder / name
        path.mkdir(exist_ok=True)
        return path

    def cut(self, *names: str) -> None:
        """Take links down, all at once: both ends of each lose their carrier, unless the lab hides that. Raises
        RequestError."""
        self._take_down(self._ends(names))

    def restore(self, *names: str) -> None:
        """Bring links up again; what was on its way when they were cut does not come out. Raises RequestError."""
        ends = self._ends(names)
        for name in names if self.carrier else ():
            if self.engine is None or not self._has_engine(name):
                continue
            if not any(links.is_up(node, end) for node, end in ends if end.link == name):
                self.engine.wait_empty(name)
        self._bring_up(ends)

    def keep(
        self,
        node: str,
        name: str,
        start: Callable[[], subprocess.Popen[bytes]],
        running: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """Answer for a daemon of a node from now on: the process that is `running`, else what `start` starts, which
        also starts it again after its death."""
        self._starters[node, name] = start
        self.daemons[node, name] = running or start()

    def daemon_names(self, node: str) -> tuple[str, ...]:
        """The daemons of a node, dead or alive, in the order in which they are started."""
        return tuple(name for owner, name in self._starters if owner == node)

    def kill_daemon(self, node: str, name: str) -> None:
        """Kill a daemon; from now on nobody expects it to run. Nothing happens to one that does not."""
        process = self.daemons.pop((node, name), None)
        if process is not None:
            process.kill()
            process.wait()

    def start_daemon(self, node: str, name: str) -> None:
        """Start a daemon that was killed, as it was started at first, and wait until it takes commands.

        Raises LabError."""
        if (node, name) not in self.daemons:
            self.daemons[node, name] = self._starters[node, name]()
            for tell in self.on_restart:
                tell(node, name)

    def restart_frr(self, node: str) -> None:
        """Kill what runs of FRR at a router, and start all of it in its order. Raises LabError."""
        names = [name for name in self.daemon_names(node) if name in self.configs[node].daemons]
        for name in names:
            self.kill_daemon(node, name)
        for name in names:
            self.start_daemon(node, name)

    def crash(self, node: str) -> None:
        """Kill every process of a node and take its links down, at both ends. Hosts behind it only lose the carrier:
        they would lose their routes otherwise, and nobody gives those back."""
        names = self.daemon_names(node)
        self._take_down(self._around(node))
        dying = [process for name in names if (process := self.daemons.pop((node, name), None)) is not None]
        for process in (*dying, *self.nodes[node].processes):
            if process.poll() is None:
                process.kill()
        for process in (*dying, *self.nodes[node].processes):
            process.wait()

    def revive(self, node: str) -> None:
        """Bring a crashed node back: its links, then its daemons, in their order. Raises LabError."""
        self._bring_up(self._around(node))
        for name in self.daemon_names(node):
            self.start_daemon(node, name)

    def reshape(
        self,
        link: str,
        *,
        rate: int | None = None,
        delay: float | None = None,
        jitter: float | None = None,
        loss: float | None = None,
        direction: str | None = None,
    ) -> None:
        """Change what a link is like while it carries traffic: nothing that waits or is on its way is lost by that.

        Rate in bit/s, delay and jitter in s, loss 0..1; None: as it is. `direction`: the node that sends; None: both.
        The queue stays as it is, in bytes, but never less than the rate's bucket. Raises RequestError, also where
        delay, jitter or loss are asked for and no impairment engine is on the link.
        """
        ends = self._directions(link, direction)
        asked = {"delay": delay, "jitter": jitter, "loss": loss}
        if any(value is not None for value in asked.values()) and not self._has_engine(link):
            fields = " and ".join(name for name, value in asked.items() if value is not None)
            what = f"the {fields} of link {link} cannot be changed: no impairment engine is on it"
            hint = "make the lab with this link among its impairable ones; a rate can be changed on every link"
            raise RequestError([Problem(what, hint=hint)])
        given = {key: value for key, value in {"rate": rate, **asked}.items() if value is not None}
        mtu = self.plan.links[link].mtu
        shapes = {end.node: reshaped(self.shape(link, end.node), mtu, **given) for _, end in ends}
        if self.engine is not None and self._has_engine(link):
            reasons = dict.fromkeys(reason for shape in shapes.values() for reason in self.engine.refuse(shape))
            if reasons:
                name = self.engine.name
                raise RequestError([Problem(f"{name} does not do {why}", f"link {link}") for why in reasons])
        self._apply(ends, shapes)

    def restore_shape(self, link: str) -> None:
        """Make a link what it was planned to be, in both directions. Raises RequestError."""
        ends = self._directions(link, None)
        self._apply(ends, {end.node: self.plan.links[link].shape for _, end in ends})

    def shape(self, link: str, sender: str) -> plans.Shape:
        """What a direction of a link is like now."""
        return self._reshaped.get((link, sender), self.plan.links[link].shape)

    def silence(self, link: str, direction: str | None = None) -> None:
        """Let packets vanish that are sent into a link, while both its ends stay up; those on the way are lost, too.

        `direction`: the node that sends them; None: both. Doing it again changes nothing. Raises RequestError,
        MachineError.
        """
        for node, interface in self._far_ends(link, direction):
            silence.silence(node, interface.name)

    def unsilence(self, link: str, direction: str | None = None) -> None:
        """Let packets through again. Raises RequestError."""
        for node, interface in self._far_ends(link, direction):
            silence.unsilence(node, interface.name)

    def dead_daemons(self) -> tuple[str, ...]:
        """The daemons that ended though nobody asked them to."""
        engine = self.engine.why_dead() if self.engine is not None else ""
        dead = {key: process for key, process in dict(self.daemons).items() if process.poll() is not None}
        # One that is killed on purpose is struck off first: what is still listed here ended by itself.
        dead = {key: process for key, process in dead.items() if self.daemons.get(key) is process}
        return (*died(dead), *([engine] if engine else []))

    def stop(self) -> None:
        """End every process, and with them the namespaces, links and mounts; then remove the lab's folders."""
        for node in self.nodes.values():
            node.kill()
        if self.engine is not None:
            self.engine.stop()
        end_processes(self.id)
        for node in self.nodes.values():
            with suppress(OSError):
                node.close()
        remove_folders(self.id)

    def _dry_run(self) -> None:
        dry_run(self.configs, self.folder("dry-run"), self.registry.environment)

    def _start_nodes(self) -> None:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            list(pool.map(Node.start, self.nodes.values()))
        self.registry.state.nodes = {name: node.pid for name, node in self.nodes.items()}
        links = self.plan.links.values()
        self.registry.state.links = {link.name: {end.node: end.name for end in (link.a, link.b)} for link in links}
        self.registry.save()

    def _connect(self) -> None:
        if self.impaired:
            asked = self.impairments, self.plan.links, self.impairable
            self.engine = choose(*asked, self.nodes, self.registry, self.seed)
        if self.engine is not None:
            self.engine.start()
        for link in self.plan.links.values():
            connect = self.engine.connect if self.engine is not None and self._has_engine(link.name) else links.connect
            connect(link, self.nodes[link.a.node], self.nodes[link.b.node])
        with ThreadPoolExecutor(_TOGETHER) as pool:
            list(pool.map(self._configure, self.nodes.values()))
        if self.engine is not None:
            self.engine.wait_ready()

    def _check(self) -> None:
        made = list(self.plan.links.values())
        if not self.impaired:
            made = [replace(link, shape=without_impairments(link.shape)) for link in made]
        self.checked = check_links({link.name: link for link in made}, self.nodes)

    def _configure(self, node: Node) -> None:
        links.configure(node, self.plan.links, self.engine)
        if self._srv6 and node.spec.role.is_router:
            srv6.configure(node)

    def _start_daemons(self) -> None:
        routers = []
        for node in self.routers:
            config = self.configs[node.name]
            write_configs(node, config)
            routers.append([Daemon(node, name, config.options.get(name, ())) for name in config.daemons])
        processes = start_daemons(routers)
        for daemon in (each for daemons in routers for each in daemons):
            key = daemon.node.name, daemon.name
            self.keep(*key, partial(start_daemon, daemon), processes[key])

    @property
    def _srv6(self) -> bool:
        """All routers have a locator, or none has."""
        return any(config.srv6 for config in self.configs.values())

    def _ends(self, names: Iterable[str]) -> list[tuple[Node, plans.Interface]]:
        names = list(names)
        if unknown := [name for name in names if name not in self.plan.links]:
            hint = f"links: {', '.join(self.plan.links)}"
            raise RequestError([Problem(f"there is no link {name!r}", hint=hint) for name in unknown])
        return [(self.nodes[end.node], end) for name in names for end in _both(self.plan.links[name])]

    def _take_down(self, ends: list[tuple[Node, plans.Interface]]) -> None:
        if self.carrier:
            links.set_state(ends, "down")
        for node, interface in () if self.carrier else ends:
            silence.silence(node, interface.name)

    def _bring_up(self, ends: list[tuple[Node, plans.Interface]]) -> None:
        if self.carrier:
            links.set_state(ends, "up")
        for node, interface in () if self.carrier else ends:
            silence.unsilence(node, interface.name)

    def _around(self, node: str) -> list[tuple[Node, plans.Interface]]:
        """The ends of a node's links; of those to hosts only its own."""
        found = [self.plan.links[interface.link] for interface in self.nodes[node].spec.interfaces]
        ends = [end for link in found for end in _both(link) if not link.is_lan or end.node == node]
        return [(self.nodes[end.node], end) for end in ends]

    def _directions(self, link: str, sender: str | None) -> list[tuple[Node, plans.Interface]]:
        """The sending ends of a link's directions."""
        ends = list(self._ends([link]))
        chosen = [(node, end) for node, end in ends if sender in (None, node.name)]
        if not chosen:
            hint = f"its directions are named by the node that sends: {', '.join(node.name for node, _ in ends)}"
            raise RequestError([Problem(f"link {link} has no direction {sender!r}", hint=hint)])
        return chosen

    def _far_ends(self, link: str, sender: str | None) -> list[tuple[Node, plans.Interface]]:
        """Where a link's directions arrive."""
        senders = [node.name for node, _ in self._directions(link, sender)]
        return [(node, end) for node, end in self._ends([link]) if end.peer_node in senders]

    def _has_engine(self, link: str) -> bool:
        return self.engine is not None and link in self.engine.links

    def _apply(self, ends: Iterable[tuple[Node, plans.Interface]], shapes: dict[str, plans.Shape]) -> None:
        for node, end in ends:
            shape = shapes[node.name]
            links.reshape(node, end, shape, self.engine)
            self._reshaped[end.link, node.name] = shape

    def _timed(self, name: str, work: Callable[[], object]) -> None:
        start = time.monotonic()
        work()
        self.timings[name] = time.monotonic() - start


def _both(link: plans.Link) -> tuple[plans.Interface, plans.Interface]:
    return link.a, link.b
