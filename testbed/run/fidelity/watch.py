"""What a run's fidelity is judged by, gathered from its transfer's start to its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from testbed.errors import DelaylineError
from testbed.forwarder.program import ForwarderDaemon
from testbed.lab.lab import Lab
from testbed.run.counters import Direction
from testbed.run.fidelity.crowding import CrowdingSampler, Span
from testbed.run.fidelity.forwarders import Forwarded, growth, read_forwarders
from testbed.run.fidelity.kernel import udp_counts
from testbed.run.fidelity.load import HostLoad, LoadSampler
from testbed.run.fidelity.rates import RateSampler, Sample
from testbed.run.fidelity.turns import Delay, Turns, delays, read_turns, softirq_threads


@dataclass(frozen=True, slots=True)
class Watched:
    """The host while a model was sent. `udp`: datagrams received, and dropped at full socket buffers, by host;
    `crowded`: packets that an impairment engine dropped for want of room; `full`: when no core was idle."""

    load: HostLoad = field(default_factory=HostLoad)
    turns: Mapping[str, Delay] = field(default_factory=dict)
    udp: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    forwarders: Mapping[str, Forwarded] = field(default_factory=dict)
    crowded: Mapping[Direction, int] = field(default_factory=dict)
    rates: Sequence[Sample] = ()
    full: Sequence[Span] = ()


class Watch:
    """Begins with its making, ends with `end`. `hosts`: the destinations; `directions`: those whose rates count."""

    def __init__(self, lab: Lab, hosts: Iterable[str], directions: Iterable[Direction]) -> None:
        self._lab = lab
        self._hosts = {host: lab.pid_of(host) for host in hosts}
        self._softirqs = softirq_threads()
        self._udp = udp_counts(self._hosts)
        self._turns = self._read_turns()
        self._forwarders = self._read_forwarders()
        self._crowded = self._read_engine()
        self._rates = RateSampler(lab.plan, lab.pid_of, directions).start()
        self._load = LoadSampler().start()
        self._full = CrowdingSampler().start()
        self._watched: Watched | None = None

    def end(self) -> Watched:
        """Ask again for what it returned before, if it has ended already."""
        if self._watched is None:
            load, rates, full = self._load.stop(), self._rates.stop(), self._full.stop()
            now = udp_counts(self._hosts)
            self._watched = Watched(
                load=load,
                turns=delays(self._turns, self._read_turns()),
                udp={host: (now[host][0] - got, now[host][1] - lost) for host, (got, lost) in self._udp.items()},
                forwarders=growth(self._forwarders, self._read_forwarders()),
                crowded={d: n - self._crowded.get(d, 0) for d, n in self._read_engine().items()},
                rates=rates,
                full=full,
            )
        return self._watched

    def _read_turns(self) -> Turns:
        daemons = [(node, name, running.pid) for (node, name), running in self._lab.daemons.items()]
        return read_turns([*daemons, *self._softirqs])

    def _read_forwarders(self) -> dict[str, Forwarded]:
        names = [node for node, name in self._lab.daemons if name == "mcfwd"]
        return read_forwarders({name: ForwarderDaemon(self._lab[name]).socket for name in names})

    def _read_engine(self) -> dict[Direction, int]:
        with suppress(DelaylineError):  # one that died is the run's failure, and told as such
            if self._lab.engine is not None:
                return {direction: done.dropped for direction, done in self._lab.engine.read().items()}
        return {}
