"""What counts as a control message of BIER's own."""

from __future__ import annotations

from ipaddress import IPv4Address

from testbed.control import tally
from testbed.control.bier_config import OPAQUE_TYPE
from testbed.control.lsdb import Change
from testbed.control.ospf_api import LsaEvent
from testbed.packet.ospf_lsa import Lsa, LsaType, opaque_lsa_id

ME, OTHER = IPv4Address("10.255.0.1"), IPv4Address("10.255.0.2")


def heard(origin: IPv4Address, opaque_type: int = OPAQUE_TYPE, change: Change = Change.ADDED) -> LsaEvent:
    return LsaEvent(1.0, change, Lsa(LsaType.OPAQUE_AREA, opaque_lsa_id(opaque_type, 0), origin, bytes(40)), None)


def test_an_lsa_counts_where_it_began_and_where_it_came() -> None:
    assert tally.of_lsa(heard(ME), ME) == {"LSAs originated": 1, "bytes": 60}
    assert tally.of_lsa(heard(OTHER), ME) == {"LSAs received": 1, "bytes": 60}


def test_other_lsas_and_deletions_do_not() -> None:
    assert tally.of_lsa(heard(OTHER, opaque_type=4), ME) == {}
    assert tally.of_lsa(heard(OTHER, change=Change.DELETED), ME) == {}
    assert tally.of_lsa(LsaEvent(1.0, Change.ADDED, Lsa(LsaType.ROUTER, OTHER, OTHER), None), ME) == {}


def test_a_command_counts_with_its_line_but_not_the_harness_asking() -> None:
    assert tally.of_command({"op": "flow"}) == {"flow commands": 1, "bytes": len('{"op": "flow"}\n')}
    assert tally.of_command({"op": "state"}) == tally.of_command({"op": "nonsense"}) == {}
