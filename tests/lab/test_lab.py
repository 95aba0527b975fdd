"""The lab itself: up, converged, usable by hand, gone without a trace; also when its harness is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import registry, vty
from testbed.lab.capabilities import frr_version
from testbed.lab.lab import Lab
from testbed.lab.waiting import until
from testbed.plan.build import make_plan
from testbed.plan.timers import profile
from testbed.plan.types import Role
from testbed.run.counters import read_interfaces
from testbed.schemes import make_scheme, router_configs
from testbed.spec.load import load_topology
from testbed.spec.scenario import SchemeChoice

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def make_lab(scheme_name: str = "pim-ssm", topology: str = "ring") -> Lab:
    plan = make_plan(load_topology(topology))
    scheme = make_scheme(SchemeChoice(name=scheme_name))
    configs = router_configs(plan, scheme, profile("fast"), frr_version())
    return Lab(plan, configs)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with make_lab() as built:
        built.start()
        built.wait_for_igp()
        make_scheme(SchemeChoice(name="pim-ssm")).wait_ready(built)
        yield built


def test_nothing_of_a_lab_is_seen_in_the_root_namespace(lab: Lab) -> None:
    ours = {i.name for n in lab.plan.nodes.values() for i in n.interfaces}
    here = {name for _, name in socket.if_nameindex()}
    assert not here & (ours - {"eth0"})
    mounts = Path("/proc/self/mountinfo").read_text()
    assert lab.id not in mounts


def test_every_node_is_its_own_machine(lab: Lab) -> None:
    router = lab.routers[0]
    assert router.run(["hostname"]).stdout.strip() == router.name
    assert router.run(["ls", "/etc/frr"]).stdout.split() == sorted(lab.configs[router.name].files)


def test_plain_vtysh_works_in_a_node(lab: Lab) -> None:
    router = lab.routers[0]
    done = router.run(["vtysh", "-c", "show ip ospf neighbor json"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_what_tcp_sends_crosses_a_link_in_packets(lab: Lab) -> None:
    source, router = lab[lab.plan.repository], lab[lab.plan.repository_edge]
    size, mtu = 2**20, lab.plan.links[source.spec.interfaces[0].link].mtu
    server = router.call(lambda: socket.create_server((str(source.spec.interfaces[0].peer_address), 0)))
    before = read_interfaces(source.pid)["eth0"]
    with server, source.call(lambda: socket.create_connection(server.getsockname())) as client:
        sender = threading.Thread(target=lambda: (client.sendall(bytes(size)), client.shutdown(socket.SHUT_WR)))
        sender.start()
        with server.accept()[0] as accepted:
            while accepted.recv(2**16):
                pass
        sender.join()
    sent = read_interfaces(source.pid)["eth0"].since(before)
    assert sent.bytes > size
    assert sent.packets >= size // mtu


def test_every_host_reaches_the_repository(lab: Lab) -> None:
    source = lab.plan.nodes[lab.plan.repository].interfaces[0].address.ip
    for host in lab.plan.hosts:
        if host.name != lab.plan.repository:
            done = lab[host.name].run(["ping", "-c", "1", "-W", "5", str(source)])
            assert done.returncode == 0, done.stdout


def test_exit_status_and_streams_of_a_command_are_kept_apart(lab: Lab) -> None:
    done = lab.routers[0].run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_nobody_has_ipv6_unless_the_scheme_asks_for_it(lab: Lab) -> None:
    for node in lab.nodes.values():
        assert Path(f"/proc/{node.pid}/net/if_inet6").read_text() == ""


def test_shapes_are_what_the_plan_says(lab: Lab) -> None:
    link = next(link for link in lab.plan.links.values() if not link.is_lan)
    done = lab[link.a.node].run(["tc", "-j", "qdisc", "show", "dev", link.a.name])
    (tbf,) = [q for q in json.loads(done.stdout) if q["kind"] == "tbf"]
    assert link.shape.rate is not None
    assert tbf["options"]["rate"] * 8 == pytest.approx(link.shape.rate, rel=0.001)


def test_a_cut_takes_the_carrier_from_both_ends_and_the_igp_goes_round(lab: Lab) -> None:
    nodes = lab.plan.nodes
    link = next(
        link for link in lab.plan.links.values() if nodes[link.a.node].role is nodes[link.b.node].role is Role.CORE
    )

    def running(node: str, interface: str) -> bool:
        flags = lab[node].netlink(lambda ip: ip.link("get", ifname=interface)[0]["flags"])
        return bool(flags & 0x40)  # IFF_RUNNING

    ends = ((link.a.node, link.a.name), (link.b.node, link.b.name))
    lab.cut(link.name)
    try:
        assert not any(running(*end) for end in ends)
        peer = lab.plan.nodes[link.b.node].loopback
        assert peer is not None
        until(
            lambda: "" if lab[link.a.node].run(["ping", "-c1", "-W1", str(peer.ip)]).returncode == 0 else "a way round",
            20,
            "OSPF after a cut",
        )
    finally:
        lab.restore(link.name)
    until(lambda: "" if all(running(*end) for end in ends) else "carrier", 10, "carrier")
    lab.wait_for_igp()


def test_a_refused_vty_command_is_an_error(lab: Lab) -> None:
    with pytest.raises(vty.VtyError, match="refused"):
        vty.ask(lab.routers[0].folder / "run/frr/ospfd.vty", "show nonsense at all")


def test_two_labs_run_side_by_side(lab: Lab) -> None:
    with make_lab("pim-sm") as other:
        other.start()
        other.wait_for_igp()
        make_scheme(SchemeChoice(name="pim-sm")).wait_ready(other)
        assert other.id != lab.id
        assert not lab.dead_daemons()
    assert not _traces(other.id)
    assert not lab.dead_daemons()


def _traces(lab: str) -> list[object]:
    """Whatever there still is of a lab."""
    processes = [entry for entry in registry._tagged() if entry[1] == lab]
    folders = [registry.STATE_ROOT / lab, *Path("/dev/shm").glob(f"llmsync-testbed-*-{lab}")]
    return [*processes, *(folder for folder in folders if folder.exists())]


def test_a_daemon_that_dies_is_told() -> None:
    with make_lab() as lab:
        lab.start()
        process = lab.daemons[lab.routers[0].name, "pimd"]
        process.kill()
        process.wait()
        assert lab.dead_daemons() == (f"pimd of {lab.routers[0].name} (status -9)",)


def test_a_daemon_that_is_killed_on_purpose_at_this_very_moment_is_not_told() -> None:
    with make_lab() as lab:
        key = lab.routers[0].name, "pimd"

        class Dying:
            """Killed, and struck off before that, between the question and its answer."""

            def poll(self) -> int:
                lab.daemons.pop(key, None)
                return -9

        lab.daemons[key] = Dying()  # type: ignore[assignment]
        assert lab.dead_daemons() == ()


def test_a_bad_configuration_is_refused_before_any_daemon_starts() -> None:
    from testbed.errors import DaemonError
    from testbed.plan.frr import RouterConfig

    with make_lab() as lab:
        name = lab.routers[0].name
        good = lab.configs[name]
        files = {**good.files, "ospfd.conf": good.files["ospfd.conf"] + "router ospf\n frobnicate the area\n"}
        lab.configs[name] = RouterConfig(files, good.daemons)
        with pytest.raises(DaemonError, match="frobnicate"):
            lab.start()
        assert not lab.daemons
    assert not _traces(lab.id)


@pytest.mark.parametrize("phase", ["nodes", "links", "FRR", "OSPF", "up"])
def test_kill_minus_nine_at_any_moment_leaves_nothing_that_clean_does_not_find(phase: str) -> None:
    name = f"k{os.getpid()}-{phase}"
    argv = [sys.executable, "-m", "testbed.run.keeper", "ring", "--lab", name]
    keeper = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert keeper.stdout is not None
    seen = ""
    for line in keeper.stdout:
        seen = line
        if phase in line.split():
            break
    assert seen, "the keeper said nothing"
    keeper.send_signal(signal.SIGKILL)
    keeper.wait()
    keeper.stdout.close()
    state = registry.labs().get(name)
    assert not registry.is_running(name, state)
    cleaned = subprocess.run([sys.executable, "-m", "testbed.cli", "clean", "--json"], capture_output=True, text=True)
    assert cleaned.returncode == 0, cleaned.stderr
    assert not _traces(name)


def test_what_belongs_to_another_pid_namespace_is_left_alone() -> None:
    """A container that shares /dev/shm with its host must not clean the host's running labs away."""
    entry = registry.Registry("t")
    try:
        bulk = entry.bulk("/dev/shm")
        clean = [sys.executable, "-m", "testbed.cli", "clean"]
        script = "mount -t proc proc /proc && exec " + " ".join(clean)
        subprocess.run(["unshare", "--pid", "--fork", "--mount", "sh", "-c", script], check=True, capture_output=True)
        assert bulk.is_dir()
        assert entry.folder.is_dir()
    finally:
        entry.remove()
    assert not bulk.exists()
