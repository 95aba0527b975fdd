"""Three hundred BFERs in several sets: a real agent keeps a real forwarder's BIFTs as the domain has them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_lab import AgentLab, Domain, agent_lab, restart
from forwarder_lab import binary
from small_lab import wait_for

from testbed.errors import ForwarderError

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

ROUTERS, PORTS, BSL = 300, 4, 64
OTHERS = range(2, ROUTERS + 1)


@pytest.fixture(params=[1, 2], ids=["one way", "two ways"])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AgentLab]:
    """Every router has a BFR-id and a port or two that lead there; the neighbour on port 4 is no BFR."""
    chance = random.Random(request.param)
    numbers = chance.sample(range(1, 330), ROUTERS)  # six sets, with gaps
    domain = Domain(PORTS, BSL, ways=request.param, ids=dict(enumerate(numbers, start=1)), silent={1 + PORTS})
    domain.routes = {router: _ports(chance) for router in OTHERS}
    with agent_lab(tmp_path, domain, binary()) as made:
        in_force(made)
        yield made


def _ports(chance: random.Random) -> tuple[int, ...]:
    return tuple(sorted(chance.sample(range(1, PORTS + 1), chance.choice((1, 1, 2)))))


def in_force(lab: AgentLab) -> None:
    """The forwarder has what follows from the domain, computed another way; no BFER is in two places of one way."""
    wanted = lab.domain.bifts()

    def found() -> bool:
        try:
            return lab.masks() == wanted
        except ForwarderError:  # it is about to start
            assert lab.agent.poll() is lab.forwarder.poll() is None
            return False

    wait_for(found, "the BIFTs")


def programmed(lab: AgentLab) -> bool:
    """What the agent says of itself, if there is one already."""
    try:
        return bool(lab.state()["programmed"])
    except OSError:
        assert lab.agent.poll() is None
        return False


def test_whatever_happens_to_three_hundred_bfers(lab: AgentLab) -> None:
    chance = random.Random(7)
    lab.install({router: (1,) for router in OTHERS if 2 in lab.domain.routes[router]})  # the link of p2 is cut
    in_force(lab)
    for router in chance.sample(OTHERS, 20):  # LSAs and routes at once
        if router > 1 + PORTS:
            lab.lose_links(router, 1)
        lab.install({router: _ports(chance)})
    lab.install(dict.fromkeys(chance.sample(OTHERS, 30), ()))
    in_force(lab)
    leaving = chance.sample(range(2 + PORTS, ROUTERS + 1), 10)
    for router in leaving:
        lab.announce(router, 0)
    in_force(lab)
    free = sorted(set(range(1, 400)) - set(lab.domain.ids.values()))
    for router, bfr_id in zip(leaving, free[-len(leaving) :], strict=True):  # a set more
        lab.announce(router, bfr_id)
    in_force(lab)


def test_an_agent_that_was_dead_meanwhile_catches_up(lab: AgentLab) -> None:
    """What it finds in the forwarder stays in force until it knows better; flows are taken over."""
    bfers = sorted(lab.domain.ids[router] for router in OTHERS if router not in lab.domain.silent)
    assert lab.flow("232.2.0.1", bfers)["ok"]
    lab.agent.kill()
    lab.agent.wait()
    before = lab.masks()
    lab.install({router: (3,) for router in OTHERS if router % 2})
    assert lab.masks() == before
    lab.agent = lab.start_agent()
    wait_for(lambda: programmed(lab), "the new agent")
    in_force(lab)
    assert lab.state()["flows"] == 1
    restart(lab)
    wait_for(lambda: programmed(lab), "the new agent")
    in_force(lab)
    lab.forwarder.kill()
    lab.forwarder.wait()
    wait_for(lambda: not programmed(lab), "the agent to notice")
    lab.forwarder = lab.start_forwarder()
    in_force(lab)
    assert lab.state()["flows"] == 1


def test_an_ospfd_that_hangs_up_and_is_there_at_once_is_heard(lab: AgentLab) -> None:
    """The new connection may have the old one's file numbers."""
    lab.ospfd.hang_up()
    wait_for(lambda: len(lab.events("ospf-connected")) == 2, "the new connection")
    wait_for(lambda: lab.state()["connected"], "the new connection's LSAs")
    router = 2 + PORTS
    lab.announce(router, 0)
    in_force(lab)
    lab.announce(router, 350)
    in_force(lab)
