"""Options of schemes: defaults, and every mistake at once."""

from __future__ import annotations

import pytest

from testbed.errors import RequestError
from testbed.schemes import SCHEMES, make_scheme
from testbed.schemes.bier import Bier
from testbed.schemes.ingress_replication import IngressReplication
from testbed.schemes.options import chosen
from testbed.spec.scenario import SchemeChoice

CHOICES = {"plane": ("mpls", "srv6"), "ways": (1, 2)}


def test_the_first_choice_is_the_default() -> None:
    assert chosen("x", {}, CHOICES) == {"plane": "mpls", "ways": 1}
    assert chosen("x", {"ways": "2", "plane": "srv6"}, CHOICES) == {"plane": "srv6", "ways": 2}


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(RequestError) as refused:
        chosen("x", {"plane": "ip", "ways": 3, "colour": "red"}, CHOICES)
    text = str(refused.value)
    for part in ("scheme x: plane 'ip'", "one of: mpls, srv6", "ways 3", "no option 'colour'", "plane, ways"):
        assert part in text, text


@pytest.mark.parametrize("plane", ["sr-mpls", "srv6"])
def test_a_data_plane_has_its_underlay(plane: str) -> None:
    scheme = make_scheme(SchemeChoice.model_validate(f"ingress-replication:dataplane={plane}"))
    assert isinstance(scheme, IngressReplication)
    assert (scheme.underlay.ospf_api, scheme.underlay.srv6, scheme.features) == (True, plane == "srv6", None)


def test_no_two_schemes_share_a_group() -> None:
    groups = [kind({}).flow(1).group for kind in SCHEMES.values()]
    assert len({*groups}) == len(groups) > 3


def test_bier_has_256_bits_unless_told_otherwise() -> None:
    assert Bier({})._bsl == 256
    assert Bier({"bsl": "64"})._bsl == 64
    with pytest.raises(RequestError, match="bsl 65"):
        Bier({"bsl": 65})
