"""What an agent ignores of two real routers that misbehave (RFC 8444 section 2, RFC 8279 section 5), by real ospfds.

a - b - c: an agent and a forwarder in a; b and c say by their ospfds whatever a test wants them to. c has BFR-id 1, b
none. What a makes of it is where it sends bit 1: to b with b's label, around b with c's, or nowhere.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from typing import Any

import pytest
from small_lab import wait_for
from test_ospf_api import OPAQUE_TYPE, Client, loopback

from testbed.control.bier_config import BierConfig
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import ForwarderDaemon
from testbed.forwarder.rows import End, NextHop, Path
from testbed.lab.capabilities import frr_version
from testbed.lab.lab import Lab
from testbed.packet.ospf_bier import BIER as BIER_TLV
from testbed.packet.ospf_bier import BIER_MPLS_ENCAPSULATION, BierSubTlv, ExtendedPrefix, MplsEncapsulation
from testbed.packet.ospf_bier_accept import Reason
from testbed.packet.ospf_extended import EXTENDED_PREFIX as PREFIX_TLV
from testbed.packet.ospf_tlv import encode_tlv
from testbed.plan.build import make_plan
from testbed.plan.frr import Underlay, render
from testbed.plan.timers import profile
from testbed.spec.topology import Topology

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

NODES = {"a": {"kind": "repository"}, "b": {"kind": "router"}, "c": {"kind": "site"}}
IDS = {"a": 2, "b": 0, "c": 1}
LABELS = {"a": 4000, "b": 5000, "c": 6000}
SUB_DOMAIN, OTHER, BSL = 0, 1, 256
END = 1 << 20  # of labels
NUMBERS = count(1)  # opaque ids: a new instance of an LSA would wait for MinLSInterval, another LSA does not

Reach = dict[int, tuple[str, int] | str]  # BFR-id -> where a tunnel to it ends (or "") and the label there, or "drop"
Ignored = set[tuple[str, Reason]]


class Domain:
    """The routers; `say` is what b and c do."""

    def __init__(self, lab: Lab, speakers: dict[str, Client]) -> None:
        self.lab, self.speakers = lab, speakers
        self._said: dict[str, list[int]] = {"b": [], "c": []}

    def say(self, router: str, *bodies: bytes) -> None:
        """Instead of all that it has said before."""
        api = self.speakers[router].api
        for number in self._said[router]:
            api.withdraw(OPAQUE_TYPE, number)
        self._said[router] = [next(NUMBERS) for _ in bodies]
        for number, body in zip(self._said[router], bodies, strict=True):
            api.originate(OPAQUE_TYPE, number, body)

    def loopback(self, router: str) -> IPv4Address:
        return loopback(self.lab, router)

    def reach(self) -> Reach:
        """Of a: what its forwarder does with each bit but its own."""
        with Forwarder(ForwarderDaemon(self.lab["a"]).socket) as forwarder:
            tables = forwarder.tables()
        hops = {row.id: row for row in tables.all(NextHop)}
        found: Reach = {}
        for path in tables.all(Path):
            if path.to is End.LOCAL:
                continue
            for bit in path.fbm:
                if isinstance(path.to, End):
                    found[bit] = path.to.value
                else:
                    end = hops[path.to].tunnel
                    found[bit] = (str(end) if end else "", path.as_id or path.bift)
        return found

    def events(self, kind: str, router: str = "a") -> list[dict[str, Any]]:
        path = self.lab[router].folder / "log/bier-agent.jsonl"
        said = path.read_text() if path.exists() else ""
        events = map(json.loads, said.splitlines()[: said.count("\n")])  # the last may still be written
        return [event["detail"] for event in events if event["kind"] == kind]

    def ignored(self) -> list[str]:
        """What a's agent has last reported."""
        return (self.events("bfrs") or [{"ignored": []}])[-1]["ignored"]

    def comes_to(self, reach: Reach, ignored: Ignored) -> None:
        """What a knows, and what it reports to have ignored: this, all of it and nothing else."""

        def reported() -> bool:
            said = self.ignored()
            starts = {f"{self.loopback(router)}, ": router for router, _ in ignored}
            found = {
                (starts.get(text[: text.index(" ") + 1]), reason)
                for text in said
                for reason in Reason
                if f": {reason.value}; " in text
            }
            return found == ignored

        wait_for(lambda: self.reach() == reach and reported(), f"{reach} and {ignored}")


@contextmanager
def agent(lab: Lab, router: str) -> Iterator[subprocess.Popen[bytes]]:
    """It remembers nothing that was withdrawn."""
    node = lab[router]
    transport = tuple(each.name for each in node.spec.interfaces if not each.is_lan)
    config = BierConfig(
        loopback=str(loopback(lab, router)),
        transport=transport,
        lans=(),
        forwarder="/run/mcfwd.sock",
        events="/var/log/bier-agent.jsonl",
        bsl=BSL,
        encapsulation="mpls",
        first_bift_id=LABELS[router],
        bfr_id=IDS[router] or 1,
        hold=0.0,
    )
    config.write(node.folder / "run/bier-agent.json")
    argv = [sys.executable, "-m", "testbed.control.bier_agent", "/run/bier-agent.json"]
    with (node.folder / "log/bier-agent.log").open("ab") as log:
        process = node.popen(argv, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def domain() -> Iterator[Domain]:
    topology = Topology.model_validate({"name": "line", "nodes": NODES, "links": [["a", "b"], ["b", "c"]]})
    plan = make_plan(topology)
    timers = replace(profile("fast"), bfd=None)
    options: dict[str, Any] = {"timers": timers, "frr_version": frr_version(), "underlay": Underlay(ospf_api=True)}
    configs = {n.name: render(plan, n.name, scheme_features=None, **options) for n in plan.routers}
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(plan, configs))
        lab.start()
        lab.wait_for_igp()
        daemon = ForwarderDaemon(lab["a"])
        process = daemon.start()
        wait_for(lambda: not daemon.why_not_ready(process), "mcfwd")
        stack.enter_context(agent(lab, "a"))
        speakers = {router: Client(lab, router) for router in "bc"}
        for client in speakers.values():
            stack.callback(client.api.close)
            client.api.register(OPAQUE_TYPE)
            client.connect()
        made = Domain(lab, speakers)
        made.say("b", good(made, "b"))
        made.say("c", good(made, "c"))
        yield made


@pytest.fixture
def well(domain: Domain) -> Iterator[Domain]:
    """All is well before a test, and again behind it."""
    usual = {1: ("", LABELS["b"])}
    domain.comes_to(usual, set())
    yield domain
    domain.say("b", good(domain, "b"))
    domain.say("c", good(domain, "c"))
    domain.comes_to(usual, set())


# -- what they say -----------------------------------------------------------------------------------------------------


def encapsulation(router: str, offset: int = 0, **fields: Any) -> MplsEncapsulation:
    return MplsEncapsulation(LABELS[router] + offset, **fields)


def sub(router: str, sub_domain: int = SUB_DOMAIN, offset: int = 0, **fields: Any) -> BierSubTlv:
    bier = BierSubTlv(sub_domain, IDS[router], encapsulations=(encapsulation(router, offset),))
    return replace(bier, **fields)


def host(domain: Domain, router: str, *bier: BierSubTlv) -> bytes:
    return ExtendedPrefix(IPv4Network(domain.loopback(router)), bier).encode()


def good(domain: Domain, router: str) -> bytes:
    return host(domain, router, sub(router))


Say = Callable[[Domain, str], list[bytes]]


@dataclass(frozen=True)
class Wrong:
    """Bodies of LSAs that make a router none of the sub-domain's, and why."""

    say: Say
    reason: Reason | None


def another_prefix(*bier: BierSubTlv) -> bytes:
    return ExtendedPrefix(IPv4Network("192.0.2.1/32"), bier).encode()


WRONG: dict[str, Wrong] = {
    "another topology": Wrong(lambda d, r: [host(d, r, sub(r, mt_id=2))], Reason.OTHER_TOPOLOGY),
    "no topology": Wrong(lambda d, r: [host(d, r, sub(r, mt_id=128))], Reason.INVALID_TOPOLOGY),
    "another BAR": Wrong(lambda d, r: [host(d, r, sub(r, bar=1))], Reason.OTHER_ALGORITHM),
    "another IPA": Wrong(lambda d, r: [host(d, r, sub(r, ipa=128))], Reason.OTHER_ALGORITHM),
    "the sub-domain twice": Wrong(lambda d, r: [host(d, r, sub(r), sub(r, offset=8))], Reason.REPEATED_SUB_DOMAIN),
    "the sub-domain with two prefixes": Wrong(
        lambda d, r: [good(d, r) + another_prefix(sub(r, offset=8))], Reason.REPEATED_SUB_DOMAIN
    ),
    "the sub-domain in two LSAs": Wrong(
        lambda d, r: [good(d, r), another_prefix(sub(r, offset=8))], Reason.REPEATED_SUB_DOMAIN
    ),
    "a BitString length twice": Wrong(
        lambda d, r: [host(d, r, sub(r, encapsulations=(encapsulation(r), encapsulation(r, 8))))],
        Reason.REPEATED_LENGTH,
    ),
    "overlapping label ranges": Wrong(
        lambda d, r: [host(d, r, sub(r, encapsulations=(encapsulation(r, max_si=3),)), sub(r, OTHER, offset=3))],
        Reason.LABELS_OVERLAP,
    ),
    "labels beyond 20 bits": Wrong(
        lambda d, r: [host(d, r, sub(r, encapsulations=(MplsEncapsulation(END - 1, max_si=1),)))],
        Reason.LABEL_TOO_HIGH,
    ),
    "BS Len 0": Wrong(
        lambda d, r: [host(d, r, sub(r, encapsulations=(encapsulation(r, bsl=32),)))], Reason.INVALID_LENGTH
    ),
    "BS Len 8": Wrong(
        lambda d, r: [host(d, r, sub(r, encapsulations=(encapsulation(r, bsl=8192),)))], Reason.INVALID_LENGTH
    ),
    "a prefix that is no address": Wrong(
        lambda d, r: [ExtendedPrefix(IPv4Network((d.loopback(r), 31), strict=False), (sub(r),)).encode()],
        Reason.NOT_A_HOST,
    ),
    "another BitString length alone": Wrong(
        lambda d, r: [host(d, r, sub(r, encapsulations=(encapsulation(r, bsl=512),)))], None
    ),
    "another sub-domain alone": Wrong(lambda d, r: [host(d, r, sub(r, OTHER))], None),
    "a malformed LSA": Wrong(lambda d, r: [good(d, r)[:-4]], None),
    "nothing": Wrong(lambda d, r: [], None),
}


@pytest.mark.parametrize("router", ["b", "c"])
@pytest.mark.parametrize("name", WRONG)
def test_what_makes_a_router_no_bfr(well: Domain, name: str, router: str) -> None:
    """c is no BFER then; b is passed by a tunnel."""
    wrong = WRONG[name]
    well.say(router, *wrong.say(well, router))
    around: Reach = {1: (str(well.loopback("c")), LABELS["c"])}
    well.comes_to({} if router == "c" else around, {(router, wrong.reason)} if wrong.reason else set())


def raw(domain: Domain, router: str, label: int) -> bytes:
    """All that is to be ignored, set: the label's four leftmost bits, reserved ones, TLVs and sub-TLVs unknown here."""
    mpls = encode_tlv(BIER_MPLS_ENCAPSULATION, struct.pack("!II", 0xF << 20 | label, 3 << 28 | 0xFFFFFFF))
    fixed = struct.pack("!BBHBBH", SUB_DOMAIN, 0, IDS[router], 0, 0, 0xFFFF)
    bier = encode_tlv(BIER_TLV, fixed + mpls + encode_tlv(99, b"odd"))
    head = struct.pack("!BBBB", 1, 32, 0, 0x40) + domain.loopback(router).packed
    return encode_tlv(4711, b"unknown") + encode_tlv(PREFIX_TLV, head + encode_tlv(77, b"") + bier)


# What takes something away from a router, and leaves it in the sub-domain with a label 100 above its usual one.
PARTLY: dict[str, Wrong] = {
    "reserved bits and unknown TLVs": Wrong(lambda d, r: [raw(d, r, LABELS[r] + 100)], None),
    "one encapsulation of a wrong length": Wrong(
        lambda d, r: [host(d, r, sub(r, encapsulations=(encapsulation(r, 100), encapsulation(r, bsl=32))))],
        Reason.INVALID_LENGTH,
    ),
    "one encapsulation of labels too high": Wrong(
        lambda d, r: [host(d, r, sub(r, encapsulations=(MplsEncapsulation(END - 1, 512, 1), encapsulation(r, 100))))],
        Reason.LABEL_TOO_HIGH,
    ),
    "another sub-domain twice": Wrong(
        lambda d, r: [host(d, r, sub(r, OTHER), sub(r, offset=100), sub(r, OTHER, offset=8))],
        Reason.REPEATED_SUB_DOMAIN,
    ),
    "another sub-domain with a length twice": Wrong(
        lambda d, r: [
            host(d, r, sub(r, OTHER, encapsulations=(encapsulation(r), encapsulation(r, 8))), sub(r, offset=100))
        ],
        Reason.REPEATED_LENGTH,
    ),
    "the prefix twice": Wrong(
        lambda d, r: [host(d, r, sub(r, offset=100)) + host(d, r, sub(r, OTHER))], Reason.REPEATED_PREFIX
    ),
}


@pytest.mark.parametrize("name", PARTLY)
def test_what_else_a_router_says_still_counts(well: Domain, name: str) -> None:
    """Of both at once. That c's labels count is seen when b says nothing."""
    wrong = PARTLY[name]
    for router in "bc":
        well.say(router, *wrong.say(well, router))
    well.comes_to({1: ("", LABELS["b"] + 100)}, {(router, wrong.reason) for router in "bc" if wrong.reason})
    well.say("b")
    well.comes_to({1: (str(well.loopback("c")), LABELS["c"] + 100)}, {("c", wrong.reason)} if wrong.reason else set())


# -- BFR-ids -----------------------------------------------------------------------------------------------------------


def test_a_bfr_id_twice_is_nobodys(well: Domain) -> None:
    """Their labels still count (RFC 8279 section 5 is about BFR-ids): when c gives up the id, bit 1 is b's."""
    well.say("b", host(well, "b", sub("b", bfr_id=1)))
    well.comes_to({}, {("b", Reason.DUPLICATE_BFR_ID), ("c", Reason.DUPLICATE_BFR_ID)})
    well.say("c", host(well, "c", sub("c", bfr_id=3)))
    well.comes_to({1: ("", LABELS["b"]), 3: ("", LABELS["b"])}, set())


def test_the_same_bfr_id_in_another_sub_domain_is_another(well: Domain) -> None:
    well.say("b", host(well, "b", sub("b", offset=100), sub("b", OTHER, bfr_id=1)))
    well.comes_to({1: ("", LABELS["b"] + 100)}, set())


def test_ones_own_bfr_id_twice(well: Domain) -> None:
    """a has said it before: it is neither a's nor c's, and a goes on with what it has."""
    well.say("c", host(well, "c", sub("c", bfr_id=IDS["a"])))
    well.comes_to({}, {("a", Reason.DUPLICATE_BFR_ID), ("c", Reason.DUPLICATE_BFR_ID)})


def test_bfr_id_0_is_none(well: Domain) -> None:
    well.say("c", host(well, "c", sub("c", bfr_id=0)))
    well.comes_to({}, set())


def test_a_bfr_id_that_is_taken_is_not_claimed(well: Domain) -> None:
    """An agent in b that is to have c's BFR-id: as long as c has it, b has none (RFC 8279 section 5)."""
    speaker = well.speakers["b"]
    well.say("b")
    speaker.api.close()
    try:
        with agent(well.lab, "b"):
            wait_for(lambda: well.events("bfr-id-taken", "b"), "the report")
            assert well.events("bfr-id-taken", "b")[-1] == {"bfr_id": 1, "by": [str(well.loopback("c"))]}
            well.comes_to({1: ("", LABELS["b"])}, set())
            well.say("c", host(well, "c", sub("c", bfr_id=3)))
            well.comes_to({1: ("", LABELS["b"]), 3: ("", LABELS["b"])}, set())
            well.say("c", good(well, "c"))  # too late: b has it, and now both
            well.comes_to({}, {("b", Reason.DUPLICATE_BFR_ID), ("c", Reason.DUPLICATE_BFR_ID)})
    finally:
        speaker.connect()
