"""What the machine's capabilities mean: fit or not, and the command that helps.

One list of checks serves both readers: `testbed doctor` shows all of them, and a run asks for those it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.errors import MachineError, Problem
from testbed.lab.capabilities import Capabilities, Feature, Version
from testbed.plan import frr
from testbed.units import format_size

Status = Literal["ok", "warn", "missing"]

OLDEST_FRR = frr.OLDEST
# What the quickstart likes to have: a 2 GiB model in /var/tmp; in memory 1 GiB for 20 routers' daemons and everything
# else that runs, and as much in /dev/shm for what arrives at 8 sites faster than it is verified.
QUICKSTART_MEMORY = 2 * 2**30
QUICKSTART_SHM = 2**30
QUICKSTART_DISK = 3 * 2**30
# A receiver at 500 Mb/s that waits 25 ms for its core finds 1.6 MB in its socket, which the kernel counts double.
ENOUGH_RMEM = 4_000_000

_AS_ROOT = "run it as root: sudo testbed ..."
_ELSEWHERE = "use a virtual machine (docs/vagrant.md), or a privileged container: docker run --privileged"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report. `missing`: no lab without it; `warn`: some scenarios will not do.

    `remedy` is "" where there is nothing to do.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a scenario needs of the machine, beyond what every lab does. Sizes in bytes.

    `shaping`: links with a rate; `netem`: delays and losses made by it and nobody else. `disk` is for the models,
    `bundle` for what is kept beside the records.
    """

    daemons: Sequence[str] = ("zebra", "ospfd")
    shaping: bool = True
    netem: bool = False
    multicast_routing: bool = True
    ipv6: bool = False
    uftp: bool = True
    http: bool = False
    memory: int = 0
    shm: int = 0
    disk: int = 0
    bundle: int = 0


ANY_LAB = Needs()


def doctor_report(cap: Capabilities) -> list[Check]:
    """Every check, in the order in which to put them right."""
    return [*_kernel_checks(cap), *_program_checks(cap), *_size_checks(cap)]


def requirements(cap: Capabilities, needs: Needs = ANY_LAB) -> list[Problem]:
    """What stands between this machine and `needs`; empty if nothing does."""
    wanted = {"root", "namespaces", "sysctl", "links", "mount point /", "FRR", "Mininet", "iproute2"}
    optional = {
        "shaping": needs.shaping,
        "netem": needs.netem,
        "multicast routing": needs.multicast_routing,
        "IPv6": needs.ipv6,
        "UFTP": needs.uftp,
        "HTTP": needs.http,
    }
    wanted |= {name for name, needed in optional.items() if needed}
    if not cap.root:  # these could not be tried
        wanted -= {"namespaces", "sysctl", "links", "shaping", "netem", "multicast routing", "IPv6"}
    problems = [
        Problem(f"{check.name}: {check.found}", hint=check.remedy)
        for check in doctor_report(cap)
        if check.name in wanted and check.status != "ok"
    ]
    absent = [name for name in needs.daemons if name not in cap.frr_daemons]
    if absent and cap.frr:
        problems.append(Problem(f"FRR without {', '.join(absent)}", hint=_install("frr")))
    return problems + list(_too_small(cap, needs))


def require(cap: Capabilities, needs: Needs = ANY_LAB) -> None:
    """Raises MachineError with everything that `requirements` finds."""
    problems = requirements(cap, needs)
    if len(problems) == 1:
        raise MachineError(problems[0].what, problems[0].hint)
    if problems:
        lines = "\n".join(f"  {problem}".replace("\n    ", "\n      ") for problem in problems)
        raise MachineError(f"this machine cannot do it yet:\n{lines}", "see also: testbed doctor")


# -- the checks ----------------------------------------------------------------------------------------------------


def _kernel_checks(cap: Capabilities) -> Iterator[Check]:
    yield _check("root", cap.root, "yes" if cap.root else "you are not root", _AS_ROOT)
    yield _check("kernel", True, f"Linux {cap.kernel}, {cap.system}")
    yield _tried(cap, "namespaces", "namespaces", _ELSEWHERE)
    yield _tried(cap, "sysctl", "sysctl", f"/proc/sys is read-only: {_ELSEWHERE}")
    yield _tried(cap, "links", "veth", "modprobe veth")
    yield _tried(cap, "shaping", "tbf", "modprobe sch_tbf; without it links have no rate", "warn")
    yield _tried(
        cap,
        "netem",
        "netem",
        "delayline takes its place, unless a scenario or --impairments insists on netem: modprobe sch_netem, or boot a "
        "kernel that has it (Debian: apt-get install linux-image-amd64)",
        "warn",
    )
    name: Feature = "pim-register" if cap.can("multicast-routing") else "multicast-routing"
    kernel = "use a kernel with CONFIG_IP_MROUTE and CONFIG_IP_PIMSM_V2 (Debian's has both)"
    yield _tried(cap, "multicast routing", name, kernel, "warn")
    boot = "boot without ipv6.disable=1, or a kernel with CONFIG_IPV6; without it there is no SRv6"
    yield _tried(cap, "IPv6", "ipv6", boot, "warn")
    yield _check(
        "mount point /",
        cap.root_is_mount,
        "yes" if cap.root_is_mount else "no: mnexec cannot start a node in a plain chroot",
        "mount --bind DIR DIR before you chroot to DIR",
    )


def _program_checks(cap: Capabilities) -> Iterator[Check]:
    yield _frr(cap)
    yield _frr_daemons(cap)
    mininet = _version(cap.mininet) if cap.mnexec else "its program mnexec is absent"
    yield _check("Mininet", bool(cap.mininet and cap.mnexec), mininet, _install("mininet"))
    uftp = _version(cap.uftp) if cap.uftpd else "its program uftpd is absent"
    yield _check("UFTP", bool(cap.uftp and cap.uftpd), uftp, _install("uftp"), "warn")
    yield _http(cap)
    yield _check("iproute2", cap.iproute2 is not None, _version(cap.iproute2), _install("iproute2"))
    yield _check("Python", True, _version(cap.python))


def _http(cap: Capabilities) -> Check:
    versions = {"nginx": cap.nginx, "curl": cap.curl}
    absent = [name for name, version in versions.items() if version is None]
    found = f"without {', '.join(absent)}" if absent else ", ".join(f"{n} {_version(v)}" for n, v in versions.items())
    return _check("HTTP", not absent, found, _install(" ".join(absent)), "warn")


def _frr(cap: Capabilities) -> Check:
    remedy = f"{_install('frr')}; {_version(OLDEST_FRR)} or newer, Debian 12 has it"
    return _check("FRR", cap.frr_release >= OLDEST_FRR, _version(cap.frr), remedy)


def _frr_daemons(cap: Capabilities) -> Check:
    wanted = ["zebra", "ospfd", "bfdd", "pimd", *(["mgmtd"] if cap.frr_release >= (10, 0) else [])]
    absent = [name for name in wanted if name not in cap.frr_daemons]
    found = f"without {', '.join(absent)}" if absent else ", ".join(wanted)
    return _check("FRR's daemons", not absent, found, _install("frr"))


def _size_checks(cap: Capabilities) -> Iterator[Check]:
    yield _check("cores", cap.cores >= 2, str(cap.cores), "2 or more: on one, the machine is the bottleneck", "warn")
    memory = f"{format_size(cap.memory_available)} available of {format_size(cap.memory_total)}"
    hint = f"the quickstart needs {format_size(QUICKSTART_MEMORY)}; send less: --size 256MiB"
    yield _check("memory", cap.memory_available >= QUICKSTART_MEMORY, memory, hint, "warn")
    shm = f"{format_size(cap.shm_free)} free"
    size = f"size={QUICKSTART_SHM // 2**20}M"
    hint = f"mount -o remount,{size} /dev/shm (docker: --shm-size), or send less: --size 256MiB"
    yield _check("/dev/shm", cap.shm_free >= QUICKSTART_SHM, shm, hint, "warn")
    disk = f"{format_size(cap.disk_free)} free in /var/tmp"
    yield _check("disk", cap.disk_free >= QUICKSTART_DISK, disk, "make room, or send less: --size 256MiB", "warn")
    rmem = f"{format_size(cap.rmem_max)} at most"
    hint = "sysctl -w net.core.rmem_max=16777216; smaller ones lose packets above some 100 Mb/s"
    yield _check("socket buffers", cap.rmem_max >= ENOUGH_RMEM, rmem, hint, "warn")


def _too_small(cap: Capabilities, needs: Needs) -> Iterator[Problem]:
    kept = needs.bundle + needs.disk if needs.bundle and cap.one_disk else needs.bundle
    sizes = (
        ("memory available", cap.memory_available, needs.memory, "close other programs, or take a smaller topology"),
        ("free in /dev/shm", cap.shm_free, needs.shm, "mount -o remount,size={mib}M /dev/shm (docker: --shm-size)"),
        ("free in /var/tmp", cap.disk_free, needs.disk, "make room, or send less: --size"),
        ("free where the bundle goes", cap.bundle_free, kept, "give it another place: --out, or leave --keep out"),
    )
    for what, have, need, hint in sizes:
        if have < need:
            mib = -(-need // 2**20)
            yield Problem(f"{format_size(have)} {what}, {format_size(need)} needed", hint=hint.format(mib=mib))


def _check(name: str, good: bool, found: str, remedy: str = "", otherwise: Status = "missing") -> Check:
    return Check(name, "ok", found) if good else Check(name, otherwise, found, remedy)


def _tried(cap: Capabilities, name: str, feature: Feature, remedy: str, otherwise: Status = "missing") -> Check:
    if not cap.root:
        return Check(name, "warn", cap.features[feature])
    good = cap.can(feature)
    return _check(name, good, "works" if good else cap.features[feature], remedy, otherwise)


def _version(version: Version | None) -> str:
    return ".".join(map(str, version)) if version else "absent"


def _install(package: str) -> str:
    return f"make deps (or: apt-get install --no-install-recommends {package})"
