"""What this machine can do: found by trying, in a network namespace that ends with the trial.

Kernels and packages differ, so nothing is inferred from a version or from a file in /boot. A trial may make the
kernel load a module (that is what it would do for the lab too); nothing else of it remains.
`testbed.lab.requirements` judges what was found.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.errors import MachineError
from testbed.lab import namespace
from testbed.plan import frr

Version = tuple[int, ...]

Feature = Literal["namespaces", "sysctl", "veth", "tbf", "htb", "netem", "multicast-routing", "pim-register", "ipv6"]
FEATURES: tuple[str, ...] = get_args(Feature)

NOT_TRIED = "not tried: needs root"

# Where Debian keeps what is not on an ordinary user's PATH.
_FRR = Path("/usr/lib/frr")
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

_QDISCS: dict[str, dict[str, int]] = {
    "tbf": {"rate": 10**7, "burst": 10**5, "limit": 10**6},
    "htb": {"default": 1},
    "netem": {"delay": 1000},
}

# linux/mroute.h
_MRT_INIT = 200
_MRT_PIM = 207


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What was found. Sizes in bytes; a version is None and a path "" where the thing is absent.

    `features` has every Feature: "" where it works, else why it does not (or NOT_TRIED). `disk_free` is where models
    are made, `bundle_free` where the bundle goes; `one_disk`: both are the same.
    """

    root: bool
    system: str
    kernel: str
    python: Version
    features: dict[str, str]
    root_is_mount: bool
    frr: Version | None
    frr_daemons: tuple[str, ...]
    mininet: Version | None
    mnexec: str
    uftp: Version | None
    uftpd: Version | None
    nginx: Version | None
    curl: Version | None
    iproute2: Version | None
    cores: int
    memory_total: int
    memory_available: int
    shm_free: int
    disk_free: int
    bundle_free: int
    one_disk: bool
    rmem_max: int

    def can(self, feature: Feature) -> bool:
        """Whether a feature was tried and works."""
        return self.features[feature] == ""

    @property
    def frr_release(self) -> tuple[int, int]:
        """FRR's version as far as its templates depend on it; (0, 0) where it is absent."""
        major, minor = (*(self.frr or ()), 0, 0)[:2]
        return major, minor


def probe_machine(models: Path = Path("/var/tmp"), bundle: Path = Path()) -> Capabilities:
    """Look at this machine, in well under a second. `bundle` need not exist yet."""
    root = os.geteuid() == 0
    memory = _memory()
    bundle = next(path for path in (bundle.absolute(), *bundle.absolute().parents) if path.exists())
    return Capabilities(
        root=root,
        system=_system(),
        kernel=platform.release(),
        python=sys.version_info[:3],
        features=_try_features() if root else dict.fromkeys(FEATURES, NOT_TRIED),
        root_is_mount=_root_is_mount(),
        frr=parse_version(_said(str(_FRR / "zebra"), "--version")),
        frr_daemons=_frr_daemons(),
        mininet=_mininet(),
        mnexec=_which("mnexec"),
        uftp=_version_inside(_which("uftp")),
        uftpd=_version_inside(_which("uftpd")),
        nginx=parse_version(_said(_which("nginx"), "-v")),
        curl=parse_version(_said(_which("curl"), "--disable", "--version")),
        iproute2=parse_version(_said(_which("ip"), "-V")) if _which("tc") else None,
        cores=len(os.sched_getaffinity(0)),
        memory_total=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        shm_free=_free("/dev/shm"),
        disk_free=_free(models),
        bundle_free=_free(bundle),
        one_disk=_device(models) == _device(bundle),
        rmem_max=int(_read("/proc/sys/net/core/rmem_max").strip() or 0),
    )


def has_qdisc(name: Literal["tbf", "htb", "netem"]) -> bool:
    """Whether this kernel has a queueing discipline (needs root)."""
    return _try_features()[name] == ""


def frr_version() -> tuple[int, int]:
    """FRR's version, for the choice of templates. Raises MachineError where FRR is absent or too old."""
    said = _said(str(_FRR / "zebra"), "--version")
    if not said:
        raise MachineError(f"FRR is not installed: no {_FRR / 'zebra'}", "make deps")
    return frr.parse_version(said)


def parse_version(text: str) -> Version | None:
    """The first dotted number in a text: `"zebra version 8.4.4"` -> (8, 4, 4); None if there is none."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, match[0].split("."))) if match else None


# -- the kernel, tried ---------------------------------------------------------------------------------------------


def _try_features() -> dict[str, str]:
    """Every feature, tried on a thread with namespaces of its own; the kernel removes them when the thread ends."""
    found = dict.fromkeys(FEATURES, "not tried: namespaces do not work")
    flags = namespace.CLONE_NEWNET | namespace.CLONE_NEWNS | namespace.CLONE_NEWUTS
    try:
        worker = namespace.Worker("capabilities", lambda: namespace.unshare(flags))
    except OSError as error:
        return found | {"namespaces": error.strerror or str(error)}
    try:
        found["namespaces"] = ""
        found["sysctl"] = _trial(partial(worker.call, _set_sysctl))
        found["multicast-routing"] = _trial(partial(worker.call, _route_multicast))
        found["pim-register"] = _trial(partial(worker.call, partial(_route_multicast, _MRT_PIM)))
        found |= worker.call(_try_links)
        found["ipv6"] = _trial(partial(worker.call, _route_ipv6))
    finally:
        worker.close()
    return found


def _trial(work: Callable[[], object]) -> str:
    try:
        work()
    except (OSError, NetlinkError) as error:
        # Netlink errors hold (number, text): the kernel's own words, or none.
        number = error.args[0] if error.args else 0
        return os.strerror(number) if isinstance(number, int) and number else str(error)
    return ""


def _set_sysctl() -> None:
    # Of the thread's own network namespace; read-only in many containers.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _route_ipv6() -> None:
    # Of an interface that exists everywhere. No such folder: a kernel without IPv6, or booted with ipv6.disable=1.
    Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("0")
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
        ip.route("add", dst="fc00::/48", type="blackhole")


def _route_multicast(*options: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
        for option in (_MRT_INIT, *options):
            sock.setsockopt(socket.IPPROTO_IP, option, 1)


def _try_links() -> dict[str, str]:
    found = {}
    with IPRoute() as ip:
        for name, parameters in _QDISCS.items():
            # An interface for each, so that no trial has to undo another. No carrier is needed.
            link = f"try-{name}"
            add_link = partial(ip.link, "add", ifname=link, kind="veth", peer=f"{link}-peer")
            found["veth"] = found[name] = _trial(add_link)
            if not found["veth"]:
                index = socket.if_nametoindex(link)
                why = _trial(partial(ip.tc, "add", name, index, root=True, **parameters))
                found[name] = "not in this kernel" if why == os.strerror(errno.ENOENT) else why
    return found


# -- programs ------------------------------------------------------------------------------------------------------


def _which(program: str) -> str:
    path = os.environ.get("PATH", "")
    return shutil.which(program, path=f"{path}:{_SYSTEM_PATH}") or ""


def _said(program: str, *arguments: str) -> str:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _version_inside(program: str) -> Version | None:
    # UFTP names its version only when it starts to send, so it is read out of the program instead.
    try:
        match = re.search(rb"UFTP version ([0-9.]+)", Path(program).read_bytes()) if program else None
    except OSError:
        return None
    return parse_version(match[1].decode()) if match else None


def _frr_daemons() -> tuple[str, ...]:
    if not _FRR.is_dir():
        return ()
    names = (p.name for p in _FRR.iterdir() if p.name == "zebra" or p.name.endswith("d"))
    return tuple(sorted(name for name in names if os.access(_FRR / name, os.X_OK)))


def _mininet() -> Version | None:
    try:
        if importlib.util.find_spec("mininet.node") is None:
            return None
        return parse_version(importlib.metadata.version("mininet")) or (0,)
    except ModuleNotFoundError:  # also metadata's PackageNotFoundError: a Mininet that is only half there
        return None


# -- the machine ---------------------------------------------------------------------------------------------------


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _root_is_mount() -> bool:
    """Whether / is a mount point, which it is not in a plain chroot; os.path.ismount cannot tell."""
    return any(line.split()[4] == "/" for line in _read("/proc/self/mountinfo").splitlines())


def _memory() -> dict[str, int]:
    lines = (line.split() for line in _read("/proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}


def _free(path: Path | str) -> int:
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _device(path: Path) -> int:
    try:
        return path.stat().st_dev
    except OSError:
        return -1
