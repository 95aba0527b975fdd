"""Who takes part in segment routing, as the link state database has it: Node-SIDs (RFC 8665) and SRv6 locators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from testbed.control.advertised import Advertised
from testbed.control.replication_config import PREFIX_TYPE, SRGB_SIZE, ReplicationConfig, adjacency_label
from testbed.packet.ospf_sr import (
    NP_FLAG,
    AdjSid,
    PrefixSid,
    SrLink,
    SrPrefix,
    decode_sr_prefixes,
    encode_sr_links,
    encode_sr_prefixes,
)


@dataclass(frozen=True, slots=True)
class SrNode:
    """What a router says of itself. `index`: of its Node-SID, `php`: whether the router before it takes that off;
    `locator`: its SRv6 SIDs begin so. None: it has none."""

    index: int | None = None
    php: bool = True
    locator: IPv6Network | None = None


def prefix_body(config: ReplicationConfig) -> bytes:
    """Of the LSA that says a router's Node-SID, or its locator: of what its forwarder serves, and no more."""
    host = IPv4Network(config.router)
    if config.locator is not None:
        return encode_sr_prefixes([SrPrefix(host, locators=(config.locator,))])
    return encode_sr_prefixes([SrPrefix(host, sids=(PrefixSid(config.number),))])


def link_body(config: ReplicationConfig) -> bytes:
    """Of the LSA that says a router's adjacency SIDs. Links that are down are in it too: who is whose neighbour at
    present is in router-LSAs."""
    return encode_sr_links(
        SrLink(IPv4Address(link.neighbour), IPv4Address(link.address), (AdjSid(adjacency_label(place)),))
        for place, link in enumerate(config.links)
    )


class SrNodes(Advertised[tuple[SrPrefix, ...]]):
    """Every router that has a Node-SID or a locator, by its router-id, which is its loopback address as well.

    A Node-SID of another address, topology or algorithm does not count, nor a label outside of the SRGB's numbers. Of
    two routers with one index, that with the lower address has it (RFC 8660 section 2.5.1); the other is in `ignored`.
    """

    def __init__(self, hold: float) -> None:
        super().__init__(PREFIX_TYPE, decode_sr_prefixes, hold)
        self.ignored: tuple[str, ...] = ()

    def nodes(self) -> Mapping[IPv4Address, SrNode]:
        found: dict[IPv4Address, SrNode] = {}
        owners: dict[int, IPv4Address] = {}
        ignored = []
        for router, bodies in sorted(self.by_router().items()):
            own = [each for body in bodies for each in body if each.prefix == IPv4Network(router)]
            sids = [sid for each in own for sid in each.sids if _counts(sid)]
            index = sids[0].sid if sids else None
            if index is not None and owners.setdefault(index, router) != router:
                ignored.append(f"Node-SID {index} of {router}: {owners[index]} has it")
                index = None
            locator = next((locator for each in own for locator in each.locators), None)
            if index is not None or locator is not None:
                found[router] = SrNode(index, not (sids and sids[0].flags & NP_FLAG), locator)
        self.ignored = tuple(ignored)
        return found


def _counts(sid: PrefixSid) -> bool:
    return not sid.is_label and not sid.mt_id and not sid.algorithm and sid.sid < SRGB_SIZE
