"""Who has which Node-SID, and where its label leads: from LSAs and routes to rows."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest
from replication_net import Agent, config, loopback, nodes

from testbed.control.bift import Hop
from testbed.control.lsdb import Change
from testbed.control.replication_config import LINK_TYPE, PREFIX_TYPE, ReplicationConfig
from testbed.control.sr_nodes import SrNode, SrNodes, link_body, prefix_body
from testbed.packet.ospf_lsa import Lsa, LsaType, opaque_lsa_id
from testbed.packet.ospf_sr import NP_FLAG, PrefixSid, SrPrefix, decode_sr_links, decode_sr_prefixes, encode_sr_prefixes


def lsa(router: int, body: bytes, kind: int = PREFIX_TYPE, number: int = 0) -> Lsa:
    return Lsa(LsaType.OPAQUE_AREA, opaque_lsa_id(kind, number), loopback(router), body)


def said(router: int, *sids: PrefixSid, prefix: str | None = None) -> bytes:
    return encode_sr_prefixes([SrPrefix(IPv4Network(prefix or loopback(router)), sids)])


@pytest.fixture
def known() -> SrNodes:
    found = SrNodes(hold=60.0)
    for router in (1, 2):
        assert found.update(0.0, Change.ADDED, lsa(router, prefix_body(config(router))))
    return found


# -- what is advertised ------------------------------------------------------------------------------------------------


def test_an_agent_says_what_its_forwarder_serves() -> None:
    (labels,) = decode_sr_prefixes(prefix_body(config(2)))
    assert labels == SrPrefix(IPv4Network("10.255.0.2"), (PrefixSid(2),))
    (srv6,) = decode_sr_prefixes(prefix_body(config(18, dataplane="srv6")))
    assert (srv6.sids, srv6.locators) == ((), (IPv6Network("fc00:0:12::/48"),))
    links = decode_sr_links(link_body(config(2)))
    assert [(str(link.id), str(link.data), link.sids[0].sid) for link in links] == [
        ("10.255.0.1", "10.0.12.2", 15001),
        ("10.255.0.3", "10.0.23.2", 15002),
        ("10.255.0.4", "10.0.24.2", 15003),
        ("10.255.0.5", "10.0.25.2", 15004),
    ]


def test_who_says_so_has_a_sid(known: SrNodes) -> None:
    assert known.nodes() == {loopback(1): SrNode(1), loopback(2): SrNode(2)}
    assert known.update(1.0, Change.ADDED, lsa(3, said(3, PrefixSid(3, flags=NP_FLAG))))
    assert known.nodes()[loopback(3)] == SrNode(3, php=False)
    assert known.update(2.0, Change.ADDED, lsa(4, prefix_body(config(4, dataplane="srv6"))))
    assert known.nodes()[loopback(4)] == SrNode(locator=IPv6Network("fc00:0:4::/48"))


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x01\x00\x63rubbish",
        b"",
        said(3),
        said(3, PrefixSid(3), prefix="10.255.0.4"),
        said(3, PrefixSid(3), prefix="10.255.0.0/24"),
        said(3, PrefixSid(16003, is_label=True)),
        said(3, PrefixSid(3, algorithm=1)),
        said(3, PrefixSid(3, mt_id=2)),
        said(3, PrefixSid(1 << 16)),
    ],
    ids=["rubbish", "nothing", "no SID", "another's", "a network", "a label", "algorithm", "topology", "out of range"],
)
def test_what_does_not_count_is_ignored(known: SrNodes, body: bytes) -> None:
    known.update(1.0, Change.ADDED, lsa(3, body))
    assert known.nodes().keys() == {loopback(1), loopback(2)}


def test_of_two_with_one_index_the_lower_address_has_it(known: SrNodes) -> None:
    known.update(1.0, Change.ADDED, lsa(3, said(3, PrefixSid(1))))
    assert known.nodes() == {loopback(1): SrNode(1), loopback(2): SrNode(2)}
    assert known.ignored == ("Node-SID 1 of 10.255.0.3: 10.255.0.1 has it",)
    known.update(2.0, Change.CHANGED, lsa(1, said(1, PrefixSid(9))))
    assert {node.index for node in known.nodes().values()} == {9, 2, 1}
    assert known.ignored == ()


def test_what_is_flushed_counts_for_a_while(known: SrNodes) -> None:
    """ospfd flushes the LSAs of an agent that dies, and its router goes on forwarding."""
    assert not known.update(5.0, Change.DELETED, lsa(2, b""))
    assert loopback(2) in known.nodes()
    assert known.next_expiry() == 65.0
    assert not known.expire(64.9)
    assert known.expire(65.0)
    assert known.nodes().keys() == {loopback(1)}
    assert known.next_expiry() is None


def test_who_comes_back_in_time_was_never_away(known: SrNodes) -> None:
    known.update(5.0, Change.DELETED, lsa(2, b""))
    assert not known.update(6.0, Change.ADDED, lsa(2, prefix_body(config(2))))
    assert not known.expire(1000.0)
    assert loopback(2) in known.nodes()


def test_other_lsas_are_none_of_its_business(known: SrNodes) -> None:
    assert not known.update(1.0, Change.ADDED, lsa(3, said(3, PrefixSid(3)), kind=LINK_TYPE))
    router_lsa = Lsa(LsaType.ROUTER, loopback(3), loopback(3), b"")
    assert not known.update(1.0, Change.ADDED, router_lsa)
    assert not known.update(1.0, Change.REFRESHED, lsa(2, b""))


# -- where it leads ----------------------------------------------------------------------------------------------------


def labels(agent: Agent) -> dict[int, str]:
    """Node-SIDs of others at R2."""
    found = {}
    for line in agent.ledger.rows():
        kind, number, *words = line.split()
        if kind == "label" and 16000 < int(number) < 17000 and int(number) != 16002:
            found[int(number) - 16000] = " ".join(words)
    return found


@pytest.fixture
def agent() -> Agent:
    made = Agent(config(2), nodes(range(1, 8)))
    made.set_route(1, [1])
    made.set_route(6, [3])
    made.set_route(7, [4, 5])
    return made


def test_rows_follow_routes(agent: Agent) -> None:
    """Next hops of R2 are numbered R1, R3, R4, R5. R1 is its own penultimate hop; of two ways to R7, one is taken."""
    assert labels(agent) == {1: "pop nexthop 1", 6: "swap 16006 nexthop 2", 7: "swap 16007 nexthop 4"}
    agent.changes()
    agent.set_route(6, [4])
    agent.set_route(1, [])
    assert sorted(agent.changes()) == ["del label 16001", "label 16006 swap 16006 nexthop 3"]
    assert agent.sids
    assert agent.sids.count == 2


def test_its_own_and_its_adjacencies() -> None:
    rows = Agent(config(4), {}).changes()
    assert {"label 16004 pop", "label 15001 pop nexthop 1", "label 15002 pop nexthop 2"} <= set(rows)
    assert "nexthop 2 port to-R7 via 10.0.47.7" in rows


def test_no_php_where_it_is_not_wanted(agent: Agent) -> None:
    assert agent.sids
    agent.sids.set_nodes({loopback(1): SrNode(1, php=False)})
    assert labels(agent) == {1: "swap 16001 nexthop 1"}


def test_an_index_that_wanders_is_given_up_before_it_is_taken(agent: Agent) -> None:
    assert agent.sids
    agent.sids.set_nodes({loopback(1): SrNode(6), loopback(6): SrNode(1), loopback(2): SrNode(2)})
    assert labels(agent) == {6: "pop nexthop 1", 1: "swap 16001 nexthop 2"}


def test_an_unknown_next_hop_is_one_all_the_same(agent: Agent) -> None:
    """Whatever the kernel says: numbers of the links are not given to others."""
    assert agent.sids
    agent.sids.set_route(loopback(6), (Hop("to-R9", IPv4Address("10.9.9.9")),))
    assert labels(agent)[6] == "swap 16006 nexthop 5"
    assert "nexthop 5 port to-R9 via 10.9.9.9" in agent.changes()


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    made = config(3, dataplane="srv6", mtu=9000)
    made.write(tmp_path / "config.json")
    assert ReplicationConfig.read(tmp_path / "config.json") == made
