"""Backbones from GraphML files, such as the Internet Topology Zoo's own."""

from __future__ import annotations

from collections.abc import Mapping
from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import networkx as nx

from testbed.errors import Problem, RequestError
from testbed.spec.backbone import Backbone, Cable
from testbed.spec.catalog import display

_EARTH_RADIUS_KM = 6371.0
_LENGTH = ("dist", "km", "length_km")
_LATITUDE = ("latitude", "lat")
_LONGITUDE = ("longitude", "lon")


def read_graphml(path: Path) -> Backbone:
    """Nodes by their `label` (else their id), lengths from the edges' `dist`, `km` or `length_km`, else great circles
    between `Latitude`/`Longitude`, else 0. Loops are left out; a directed pair is one link. Raises RequestError.
    """
    file = display(path)
    try:
        graph = nx.read_graphml(path)
    except OSError as error:
        raise RequestError([Problem(f"{file} cannot be read: {error.strerror}")]) from error
    except ParseError as error:
        raise RequestError([Problem(f"not valid XML: {error}", file=file, line=error.position[0])]) from error
    except (nx.NetworkXError, KeyError, ValueError) as error:
        raise RequestError([Problem(f"not valid GraphML: {error}", file=file)]) from error

    places = {node: index for index, node in enumerate(graph)}
    cables: list[Cable] = []
    both_ways: set[frozenset[int]] = set()
    for a, b, data in graph.edges(data=True):
        pair = frozenset((places[a], places[b]))
        if len(pair) == 1 or (graph.is_directed() and pair in both_ways):
            continue
        both_ways.add(pair)
        cables.append(Cable(places[a], places[b], _kilometres(data, graph.nodes[a], graph.nodes[b])))
    return Backbone(
        name=path.stem,
        source=path.name,
        labels=tuple(str(data.get("label") or node) for node, data in graph.nodes(data=True)),
        cables=tuple(cables),
    )


def _kilometres(edge: Mapping[str, Any], a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    length = _number(edge, _LENGTH)
    if length is not None and length >= 0:
        return length
    ends = [(_number(node, _LATITUDE), _number(node, _LONGITUDE)) for node in (a, b)]
    (lat1, lon1), (lat2, lon2) = ends
    if lat1 is None or lon1 is None or lat2 is None or lon2 is None:
        return 0.0
    half = sin(radians(lat2 - lat1) / 2) ** 2
    half += cos(radians(lat1)) * cos(radians(lat2)) * sin(radians(lon2 - lon1) / 2) ** 2
    return round(2 * _EARTH_RADIUS_KM * asin(sqrt(min(half, 1.0))), 2)


def _number(data: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    for key, value in data.items():
        if key.lower() in names:
            try:
                return float(value)
            except (TypeError, ValueError):
                return None
    return None
