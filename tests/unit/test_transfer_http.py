"""HTTP as a transport: command lines, configurations, and what curl's records mean."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.errors import RequestError
from testbed.transfer.base import Delivery, Destination, Fate, Folder, Folders, Process
from testbed.transfer.http import Http, pacing, read_record
from testbed.transfer.manifest import File, Manifest
from testbed.transfer.registry import TRANSPORTS, transport
from testbed.transfer.uftp import Uftp

MANIFEST = Manifest(1000, (File("config.json", 10, (b"",)), File("m 1#.bin", 5000, (b"",) * 5)))
DELIVERY = Delivery(
    sync="sync1",
    model=Path("/var/tmp/model"),
    manifest=MANIFEST,
    group=None,
    source_host="repo-src",
    source=IPv4Address("10.64.0.2"),
    ssm=False,
    rate=485_000_000,
    block=8800,
    patience=60.0,
    destinations=(
        Destination("a-st", "a", IPv4Address("10.64.0.6")),
        Destination("b-st", "b", IPv4Address("10.64.0.10")),
    ),
    port=8080,
)
GOOD = "0\thttp://10.64.0.2:8080/{}\t200\t10\t10\t\n"
CUT_OFF = "28\thttp://10.64.0.2:8080/{}\t200\t10\t10\tOperation too slow\n"
CONFIG, SHARD = "config.json", "m%201%23.bin"


def under(path: Path) -> Folders:
    return lambda host: Folder(path / host, path / "data" / host)


def option(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def wanted(process: Process) -> str:
    return process.command.files[Path(option(process.command.argv, "--config"))]


def record(path: Path, host: str, *lines: str) -> None:
    folder = path / host
    folder.mkdir(exist_ok=True)
    Http().marker(Folder(folder, folder)).write_text("".join(lines))


def test_the_server_is_one_process_of_its_own_at_the_source(tmp_path: Path) -> None:
    (server,) = Http().listeners(DELIVERY, under(tmp_path))
    assert (server.name, server.host, server.serves) == ("server", "repo-src", ("a-st", "b-st"))
    argv = server.command.argv
    assert argv[0] == "nginx"
    assert option(argv, "-p") == f"{tmp_path}/repo-src/"
    config = server.command.files[Path(option(argv, "-c"))]
    for line in ("master_process off;", "listen 10.64.0.2:8080;", 'root "/var/tmp/model";', "send_timeout 60s;"):
        assert line in config
    for path in (line.split()[1] for line in config.splitlines() if "_path" in line or "pid" in line):
        assert not path.startswith("/"), "everything it writes is in its own folder"
    assert config.count("{") == config.count("}")


def test_a_client_asks_for_every_file_in_the_models_order(tmp_path: Path) -> None:
    first, second = Http().movers(DELIVERY, under(tmp_path))
    assert [(p.name, p.host, p.serves) for p in (first, second)] == [
        ("client", "a-st", ("a-st",)),
        ("client", "b-st", ("b-st",)),
    ]
    argv = first.command.argv
    assert argv[:2] == ("sh", "-c")
    assert argv[3] == str(Http().marker(under(tmp_path)("a-st")))
    assert option(argv, "--interface") == "10.64.0.6"
    assert option(argv, "--continue-at") == "-"
    assert wanted(first) == (
        'url = "http://10.64.0.2:8080/config.json"\n'
        f'output = "{tmp_path}/data/a-st/config.json"\n'
        'url = "http://10.64.0.2:8080/m%201%23.bin"\n'
        f'output = "{tmp_path}/data/a-st/m 1#.bin"\n'
    )
    assert Http().places(DELIVERY, under(tmp_path)("a-st"), "m 1#.bin") == (f"{tmp_path}/data/a-st/m 1#.bin",)
    assert under(tmp_path)("a-st").data in first.command.folders


@pytest.mark.parametrize(("patience", "bears"), [(0.5, "1"), (15, "2"), (60, "5"), (3600, "300")])
def test_patience_sets_the_timers(tmp_path: Path, patience: float, bears: str) -> None:
    client, _ = Http().movers(replace(DELIVERY, patience=patience), under(tmp_path))
    assert option(client.command.argv, "--connect-timeout") == bears
    assert option(client.command.argv, "--speed-time") == bears


def test_a_later_attempt_asks_for_what_is_missing(tmp_path: Path) -> None:
    _, client = Http().movers(DELIVERY, under(tmp_path))
    record(tmp_path, "b-st", GOOD.format(CONFIG), CUT_OFF.format(SHARD))
    heir = Http().resume(DELIVERY, under(tmp_path), client, 1, 28)
    assert heir is not None
    assert (heir.name, heir.host, heir.serves) == ("client", "b-st", ("b-st",))
    assert "config.json" not in wanted(heir)
    assert "m%201%23.bin" in wanted(heir)
    assert option(heir.command.argv, "--config") != option(client.command.argv, "--config")


@pytest.mark.parametrize("status", [0, 2, 22, 23, 33, -9, -15])
def test_what_cannot_pass_is_not_taken_up_again(tmp_path: Path, status: int) -> None:
    client, _ = Http().movers(DELIVERY, under(tmp_path))
    assert Http().resume(DELIVERY, under(tmp_path), client, 1, status) is None


def test_fates(tmp_path: Path) -> None:
    assert Http().fates(DELIVERY, under(tmp_path)) == {}
    record(tmp_path, "a-st", CUT_OFF.format(CONFIG), GOOD.format(CONFIG), GOOD.format(SHARD))
    record(tmp_path, "b-st", GOOD.format(CONFIG), CUT_OFF.format(SHARD))
    assert Http().fates(DELIVERY, under(tmp_path)) == {
        "a-st": Fate(True),
        "b-st": Fate(False, "curl ended with status 28 at m 1#.bin: Operation too slow"),
    }
    record(tmp_path, "b-st", GOOD.format(CONFIG))
    assert Http().fates(DELIVERY, under(tmp_path))["b-st"] == Fate(False, "m 1#.bin was not fetched")


def test_half_a_line_counts_for_nothing(tmp_path: Path) -> None:
    text = GOOD.format(CONFIG) + GOOD.format(SHARD)
    path = tmp_path / "record"
    for cut in range(len(text)):
        path.write_text(text[:cut])
        complete = [name for name, at in ((CONFIG, len(GOOD.format(CONFIG))), (SHARD, len(text))) if cut >= at]
        assert len(read_record(path)) == len(complete)
    path.write_bytes(b"\xff\tx\nnoise\n" + text.encode())
    assert set(read_record(path)) == {"config.json", "m 1#.bin"}


@pytest.mark.parametrize("sites", [1, 2, 8])
def test_all_connections_together_fill_the_rate(sites: int) -> None:
    many = tuple(Destination(f"s{n}", f"s{n}", IPv4Address(f"10.65.0.{n}")) for n in range(1, sites + 1))
    delivery = replace(DELIVERY, destinations=many)
    frame = 8800 + 20 + 20 + 12 + 14  # IPv4, TCP, timestamps, Ethernet
    on_the_link = sites * pacing(delivery) * 8 * frame / 8800
    assert delivery.rate - 8 * sites * 2 <= on_the_link <= delivery.rate


def test_a_packet_carries_as_much_as_one_of_uftp() -> None:
    assert Http.overhead == Uftp.overhead


def test_every_reason_against_a_delivery_is_told() -> None:
    Http().check(DELIVERY)
    bad = replace(DELIVERY, block=9000, rate=15_999, group=IPv4Address("232.1.0.1"))
    with pytest.raises(RequestError) as caught:
        Http().check(bad)
    text = str(caught.value)
    for part in ("a block of 9000 bytes", "use at most 8948", "to a group, and there is one: 232.1.0.1", "15999 bit/s"):
        assert part in text
    with pytest.raises(RequestError, match="there is no destination"):
        Http().check(replace(DELIVERY, destinations=()))
    with pytest.raises(RequestError, match="TCP takes 88 to 32755"):
        Http().check(replace(DELIVERY, block=87))


def test_it_is_found_by_name() -> None:
    assert transport("http") is TRANSPORTS["http"]
