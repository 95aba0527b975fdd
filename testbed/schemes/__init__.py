"""The schemes, by name. A new one is a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from testbed.schemes.base import Flow, Scheme, SchemeEvent, router_configs
from testbed.schemes.bier import Bier
from testbed.schemes.ingress_replication import IngressReplication
from testbed.schemes.pim import PimSm, PimSsm
from testbed.schemes.sr_p2mp import SrP2mp
from testbed.schemes.unicast import Unicast
from testbed.spec.scenario import SchemeChoice

_ALL: tuple[type[Scheme], ...] = (PimSsm, PimSm, Bier, SrP2mp, IngressReplication, Unicast)
SCHEMES: Mapping[str, type[Scheme]] = MappingProxyType({scheme.name: scheme for scheme in _ALL})


def make_scheme(choice: SchemeChoice) -> Scheme:
    """The scheme that was chosen, with its options. Raises RequestError for options it does not have."""
    return SCHEMES[choice.name](dict(choice.options))


__all__ = ["SCHEMES", "Flow", "Scheme", "SchemeEvent", "make_scheme", "router_configs"]
