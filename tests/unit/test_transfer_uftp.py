from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.errors import RequestError
from testbed.transfer.base import Command, Delivery, Destination, Fate, Folder, Folders
from testbed.transfer.manifest import File, Manifest
from testbed.transfer.registry import TRANSPORTS, transport
from testbed.transfer.sockets import is_member, joined_channels, joined_groups
from testbed.transfer.uftp import Uftp, parse_fates

MANIFEST = Manifest(
    1000, (File("config.json", 10, (b"",)), File("m-1", 5000, (b"",) * 5), File("index.json", 20, (b"",)))
)
DELIVERY = Delivery(
    sync="sync1",
    model=Path("/var/tmp/model"),
    manifest=MANIFEST,
    group=IPv4Address("232.1.0.1"),
    source_host="repo-src",
    source=IPv4Address("10.64.0.2"),
    ssm=True,
    rate=485_000_000,
    block=8800,
    patience=60.0,
    destinations=(
        Destination("a-st", "a", IPv4Address("10.64.0.6")),
        Destination("b-st", "b", IPv4Address("10.64.0.10")),
    ),
)


def under(path: Path) -> Folders:
    return lambda host: Folder(path / host, path / "data" / host)


def sending(delivery: Delivery, path: Path) -> Command:
    """What the one sender of a delivery is started with."""
    (sender,) = Uftp().movers(delivery, under(path))
    assert (sender.name, sender.host, sender.serves) == ("sender", "repo-src", ("a-st", "b-st"))
    return sender.command


def option(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_the_sender_is_told_everything(tmp_path: Path) -> None:
    command = sending(DELIVERY, tmp_path)
    assert command.argv[:4] == ("env", "-C", str(tmp_path / "repo-src"), "uftp")
    flags = ("-M", "-P", "-I", "-U", "-t", "-p", "-b", "-D", "-s", "-r")
    assert {flag: option(command.argv, flag) for flag in flags} == {
        "-M": "232.1.0.1",
        "-P": "232.1.0.1",
        "-I": "10.64.0.2",
        "-U": "0x0A400002",
        "-t": "64",
        "-p": "1044",
        "-b": "8800",
        "-D": "sync1",
        "-s": "50",
        "-r": "0.1:0.1:0.2",
    }
    assert command.files[Path(option(command.argv, "-H").removeprefix("@"))] == "0x0A400006\n0x0A40000A\n"
    listed = command.files[Path(option(command.argv, "-i"))].split()
    assert listed == [f"/var/tmp/model/{name}" for name in ("config.json", "index.json", "m-1")]


def test_a_later_attempt_resumes(tmp_path: Path) -> None:
    (sender,) = Uftp().movers(DELIVERY, under(tmp_path))
    assert Uftp().resume(DELIVERY, under(tmp_path), sender, 2, 1) is None
    (tmp_path / "repo-src").mkdir()
    (tmp_path / "repo-src" / "_group_12AB34CD_restart").touch()
    heir = Uftp().resume(DELIVERY, under(tmp_path), sender, 2, 1)
    assert heir is not None
    assert (heir.name, heir.host, heir.serves) == (sender.name, sender.host, sender.serves)
    argv = heir.command.argv
    assert option(argv, "-F") == "_group_12AB34CD_restart"
    assert option(argv, "-D") == "sync1"
    assert option(argv, "-S") == str(tmp_path / "repo-src" / "status-2")
    assert not {"-H", "-i"} & set(argv)


@pytest.mark.parametrize("block", [1300, 8800])
def test_the_rate_is_that_of_the_link_layer(tmp_path: Path, block: int) -> None:
    argv = sending(replace(DELIVERY, block=block), tmp_path).argv
    ip_bits_a_second = int(option(argv, "-R")) * 1024
    packets = ip_bits_a_second / 8 / (block + 52)
    assert packets * (block + 66) * 8 == pytest.approx(485_000_000, rel=1e-5)


@pytest.mark.parametrize(("patience", "grtt"), [(0.5, "0.02"), (60, "0.1"), (120, "0.2"), (3600, "1")])
def test_patience_sets_the_timers(tmp_path: Path, patience: float, grtt: str) -> None:
    delivery = replace(DELIVERY, patience=patience)
    argv = sending(delivery, tmp_path).argv
    most = min(1, 2 * float(grtt))
    assert option(argv, "-r") == f"{grtt}:{grtt}:{most:g}"
    # A restart must still come within the patience (of a few seconds there is no room for one).
    assert Uftp().silence(delivery) == pytest.approx(3 * 50 * most)
    assert patience < 12 or Uftp().silence(delivery) <= patience / 2


@pytest.mark.parametrize("ssm", [True, False])
def test_a_receiver_listens_to_the_source_only_with_ssm(tmp_path: Path, ssm: bool) -> None:
    _, receiver = Uftp().listeners(replace(DELIVERY, ssm=ssm), under(tmp_path))
    assert (receiver.name, receiver.host, receiver.serves) == ("receiver", "b-st", ("b-st",))
    folder, command = under(tmp_path)("b-st"), receiver.command
    assert option(command.argv, "-U") == "0x0A40000A"
    assert option(command.argv, "-I") == "10.64.0.10"
    assert option(command.argv, "-F") == str(Uftp().marker(folder))
    assert Path(option(command.argv, "-T")) in command.folders
    assert Path(option(command.argv, "-D")) in command.folders
    assert ("-S" in command.argv) == ssm
    if ssm:
        assert command.files[Path(option(command.argv, "-S"))] == "0x0A400002|10.64.0.2\n"


@pytest.mark.parametrize(
    ("rate", "block", "cache"),
    [
        (10**6, 512, "10240"),
        (100 * 10**6, 8800, "125000"),
        (10**10, 8800, "1048576"),
        (10**6, 8800, "70400"),  # eight blocks, however long they are in coming
    ],
)
def test_received_bytes_are_not_held_back_for_long(tmp_path: Path, rate: int, block: int, cache: str) -> None:
    receiver, _ = Uftp().listeners(replace(DELIVERY, rate=rate, block=block), under(tmp_path))
    assert option(receiver.command.argv, "-c") == cache


def test_every_reason_against_a_delivery_is_told() -> None:
    Uftp().check(DELIVERY)
    bad = replace(DELIVERY, block=9000, rate=500, group=IPv4Address("239.1.0.1"), destinations=())
    with pytest.raises(RequestError) as caught:
        Uftp().check(bad)
    text = str(caught.value)
    for part in ("a block of 9000 bytes", "use at most 8948", "232.0.0.0/8", "500 bit/s", "no destination"):
        assert part in text
    with pytest.raises(RequestError, match="not a multicast group"):
        Uftp().check(replace(DELIVERY, group=IPv4Address("10.0.0.1")))
    with pytest.raises(RequestError, match="uftp sends to a group, and there is none"):
        Uftp().check(replace(DELIVERY, group=None))


def fates(text: str) -> dict[str, Fate]:
    return parse_fates(DELIVERY, iter(text.split()))


A_COMPLETE = """
    CONNECT;success;0x0A400006
    RESULT;0x0A400006;sync1/config.json;0KB;copy;1KB/s
    RESULT;0x0A400006;sync1/index.json;0KB;skipped;1KB/s
    RESULT;0x0A400006;sync1/m-1;4KB;copy;1KB/s
"""


def test_only_all_files_are_everything() -> None:
    assert fates("") == {}
    assert fates(A_COMPLETE) == {"a-st": Fate(True)}
    assert fates(A_COMPLETE.replace("copy", "lost")) == {
        "a-st": Fate(False, "dropped by the sender: no answer (lost) at config.json")
    }
    assert fates("CONNECT;success;0x0a400006") == {"a-st": Fate(False, "config.json was not sent to its end")}


def test_a_mute_destination_and_strangers() -> None:
    mute = "CONNECT;failed;0x0A40000A RESULT;0x0A40000A;sync1/m-1;4KB;mute;"
    stranger = "RESULT;0x7;sync1/m-1;4KB;copy;1"
    assert fates(f"{A_COMPLETE} {mute} {stranger}") == {
        "a-st": Fate(True),
        "b-st": Fate(False, "never registered with the sender (mute)"),
    }


def test_the_last_attempt_counts() -> None:
    lost = "CONNECT;success;0x0A400006 RESULT;0x0A400006;sync1/m-1;4KB;lost;\n"
    assert fates(lost + A_COMPLETE) == {"a-st": Fate(True)}
    assert fates("CONNECT;failed;0x0A400006 " + A_COMPLETE) == {"a-st": Fate(True)}


def test_fates_are_read_in_the_order_of_the_attempts(tmp_path: Path) -> None:
    folder = tmp_path / "repo-src"
    folder.mkdir()
    (folder / "status-9").write_text("RESULT;0x0A400006;sync1/m-1;4KB;lost;\n")
    (folder / "status-10").write_text(A_COMPLETE.replace(" ", ""))
    assert Uftp().fates(DELIVERY, under(tmp_path)) == {"a-st": Fate(True)}


def test_transports_are_found_by_name() -> None:
    assert transport("uftp") is TRANSPORTS["uftp"]
    with pytest.raises(RequestError, match="no transport 'ftp'; there is: http, uftp"):
        transport("ftp")


IGMP = """\
Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
2\teth0      :     2      V3
\t\t\t\t010001EF     1 0:00000000\t\t0
"""
MCFILTER = """\
Idx Device        MCA        SRC    INC    EXC
  2   eth0 0xe8010001 0x0a400002      1      0
  2   eth0 0xe8010002 0x0a400002      0      1
"""


def test_memberships_are_read_as_the_kernel_writes_them() -> None:
    assert joined_groups(IGMP) == {IPv4Address("224.0.0.1"), IPv4Address("239.1.0.1")}
    assert joined_channels(MCFILTER) == {(IPv4Address("232.1.0.1"), IPv4Address("10.64.0.2"))}
    assert not is_member(2**22 + 1, IPv4Address("224.0.0.1"))
