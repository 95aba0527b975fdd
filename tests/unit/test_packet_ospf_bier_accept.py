"""What RFC 8444 section 2 has ignored: a case a rule, and what holds for any advertisements."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, MplsEncapsulation
from testbed.packet.ospf_bier_accept import Accepted, Reason, SubDomain, Verdict, accept

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
R1, R2, R3 = (IPv4Address(f"10.255.0.{k}") for k in (1, 2, 3))
HERE = {0: SubDomain(), 1: SubDomain()}
LOW = MplsEncapsulation(label=5000, bsl=256, max_si=3)
HIGH = MplsEncapsulation(label=5004, bsl=512, max_si=1)


def host(router: IPv4Address, *bier: BierSubTlv) -> ExtendedPrefix:
    return ExtendedPrefix(IPv4Network(router), bier)


def sub(sub_domain: int = 0, bfr_id: int = 7, *encapsulations: MplsEncapsulation, mt_id: int = 0) -> BierSubTlv:
    return BierSubTlv(sub_domain, bfr_id, mt_id, encapsulations=encapsulations)


def judge(*prefixes: ExtendedPrefix, local: dict[int, SubDomain] = HERE) -> Verdict:
    """One router's advertisements."""
    return accept({R1: prefixes}, local)


def reasons(verdict: Verdict) -> list[Reason]:
    return [each.reason for each in verdict.ignored]


def kept(verdict: Verdict) -> list[BierSubTlv]:
    return [each.bier for each in verdict.accepted]


def test_what_is_in_order_is_accepted_as_it_is() -> None:
    """Ranges may touch; the same labels on another router are other labels; 0 is no BFR-id, so never taken twice."""
    one, two, three = sub(0, 1, LOW, HIGH), sub(0, 2, LOW), sub(0, 0, LOW)
    four = sub(1, 1, replace(LOW, label=6000))
    verdict = accept({R3: [host(R3, three)], R1: [host(R1, one, four)], R2: [host(R2, two, sub(1, 0))]}, HERE)
    assert not verdict.ignored
    assert verdict.accepted == (
        Accepted(R1, IPv4Network(R1), one),
        Accepted(R1, IPv4Network(R1), four),
        Accepted(R2, IPv4Network(R2), two),
        Accepted(R2, IPv4Network(R2), sub(1, 0)),
        Accepted(R3, IPv4Network(R3), three),
    )


class TestOneEncapsulation:
    @pytest.mark.parametrize("bsl", [32, 8192, 1 << 20])
    def test_of_no_bitstring_length(self, bsl: int) -> None:
        verdict = judge(host(R1, sub(0, 7, LOW, replace(HIGH, bsl=bsl))))
        assert reasons(verdict) == [Reason.INVALID_LENGTH]
        assert kept(verdict) == [sub(0, 7, LOW)]

    def test_whose_last_label_is_none(self) -> None:
        end = 1 << 20
        fits, beyond = replace(HIGH, label=end - 2, max_si=1), replace(HIGH, label=end - 2, max_si=2)
        assert kept(judge(host(R1, sub(0, 7, LOW, fits)))) == [sub(0, 7, LOW, fits)]
        verdict = judge(host(R1, sub(0, 7, LOW, beyond)))
        assert reasons(verdict) == [Reason.LABEL_TOO_HIGH]
        assert kept(verdict) == [sub(0, 7, LOW)]


class TestOneBierSubTlv:
    def test_with_a_length_twice(self) -> None:
        verdict = judge(host(R1, sub(0, 7, LOW, replace(HIGH, bsl=256)), sub(1, 7)))
        assert reasons(verdict) == [Reason.REPEATED_LENGTH]
        assert kept(verdict) == [sub(1, 7)]

    def test_of_another_topology(self) -> None:
        verdict = judge(host(R1, sub(mt_id=2), sub(1)))
        assert reasons(verdict) == [Reason.OTHER_TOPOLOGY]
        assert kept(verdict) == [sub(1)]

    def test_of_no_topology(self) -> None:
        assert reasons(judge(host(R1, sub(mt_id=128)), local={})) == [Reason.INVALID_TOPOLOGY]

    @pytest.mark.parametrize("field", ["bar", "ipa"])
    def test_of_another_algorithm(self, field: str) -> None:
        odd = replace(sub(), **{field: 1})  # type: ignore[arg-type]
        assert reasons(judge(host(R1, odd))) == [Reason.OTHER_ALGORITHM]
        assert not judge(host(R1, odd), local={0: replace(SubDomain(), **{field: 1})}).ignored

    def test_of_a_sub_domain_unknown_here(self) -> None:
        assert not judge(host(R1, sub(9, mt_id=2)), local={}).ignored


class TestOneRouter:
    def test_that_says_a_sub_domain_twice_is_not_in_it(self) -> None:
        verdict = judge(host(R1, sub(0, 7), sub(1, 7), sub(0, 8)))
        assert reasons(verdict) == [Reason.REPEATED_SUB_DOMAIN] * 2
        assert kept(verdict) == [sub(1, 7)]

    def test_that_says_it_with_two_prefixes_is_not_either(self) -> None:
        verdict = judge(host(R1, sub(0, 7)), host(R2, sub(0, 7)))
        assert reasons(verdict) == [Reason.REPEATED_SUB_DOMAIN] * 2

    @pytest.mark.parametrize("label", [4999, 5000, 5003])
    def test_whose_labels_overlap_counts_for_nothing(self, label: int) -> None:
        other = MplsEncapsulation(label=label, bsl=512, max_si=1)
        verdict = judge(host(R1, sub(0, 7, LOW), sub(1, 7, other)))
        assert reasons(verdict) == [Reason.LABELS_OVERLAP] * 2
        assert not verdict.accepted

    def test_of_overlaps_only_what_has_labels_counts(self) -> None:
        """A range that is ignored itself takes no labels."""
        beyond = MplsEncapsulation(label=(1 << 20) - 1, bsl=512, max_si=1)
        last = MplsEncapsulation(label=(1 << 20) - 1, bsl=256)
        verdict = judge(host(R1, sub(0, 7, beyond), sub(1, 7, last)))
        assert reasons(verdict) == [Reason.LABEL_TOO_HIGH]
        assert kept(verdict) == [sub(0, 7), sub(1, 7, last)]

    def test_that_repeats_a_prefix_is_taken_at_its_first_word(self) -> None:
        verdict = judge(host(R1, sub(0, 7)), host(R1, sub(1, 8)))
        assert reasons(verdict) == [Reason.REPEATED_PREFIX]
        assert kept(verdict) == [sub(0, 7)]

    def test_whose_prefix_is_no_address(self) -> None:
        wide = ExtendedPrefix(IPv4Network("10.255.0.0/24"), (sub(),))
        assert reasons(judge(wide)) == [Reason.NOT_A_HOST]
        assert not judge(replace(wide, bier=())).ignored, "without BIER it is none of our business"


class TestSeveralRouters:
    def test_a_bfr_id_taken_twice_is_nobodys(self) -> None:
        """Their labels and prefixes still count: they are on the paths to others."""
        twice, other = sub(0, 7, LOW), sub(0, 8)
        verdict = accept({R1: [host(R1, twice)], R2: [host(R2, twice)], R3: [host(R3, other)]}, HERE)
        assert reasons(verdict) == [Reason.DUPLICATE_BFR_ID] * 2
        assert kept(verdict) == [sub(0, 0, LOW), sub(0, 0, LOW), other]

    def test_in_another_sub_domain_it_is_another_id(self) -> None:
        assert not accept({R1: [host(R1, sub(0, 7))], R2: [host(R2, sub(1, 7))]}, HERE).ignored

    def test_what_is_ignored_takes_no_id(self) -> None:
        verdict = accept({R1: [host(R1, sub(0, 7))], R2: [host(R2, sub(0, 7, mt_id=2))]}, HERE)
        assert reasons(verdict) == [Reason.OTHER_TOPOLOGY]
        assert kept(verdict) == [sub(0, 7)]

    def test_ones_overlap_is_not_the_others(self) -> None:
        verdict = accept({R1: [host(R1, sub(0, 7, LOW), sub(1, 7, LOW))], R2: [host(R2, sub(0, 8, LOW))]}, HERE)
        assert kept(verdict) == [sub(0, 8, LOW)]


def test_it_reads_as_what_it_is() -> None:
    (ignored,) = judge(host(R1, sub(mt_id=2))).ignored
    assert str(ignored).startswith("10.255.0.1, 10.255.0.1/32: the sub-domain has another MT-ID here (RFC 8444 2.1)")


SMALL = st.builds(
    MplsEncapsulation,
    label=st.integers(0, 12) | st.just((1 << 20) - 2),
    bsl=st.sampled_from([32, 64, 128, 256, 8192]),
    max_si=st.integers(0, 3),
)
SUBS = st.builds(
    BierSubTlv, st.integers(0, 2), st.integers(0, 3), st.sampled_from([0, 0, 1, 200]), st.sampled_from([0, 0, 1]),
    st.just(0), st.lists(SMALL, max_size=2).map(tuple),
)  # fmt: skip
PREFIXES = st.builds(
    ExtendedPrefix,
    st.sampled_from([IPv4Network(R1), IPv4Network(R2), IPv4Network("10.255.0.0/24")]),
    st.lists(SUBS, max_size=3).map(tuple),
)
ADVERTISED = st.dictionaries(st.sampled_from([R1, R2, R3]), st.lists(PREFIXES, max_size=2))


def advertisements(accepted: tuple[Accepted, ...]) -> dict[IPv4Address, list[ExtendedPrefix]]:
    """What the routers would have to say to be accepted in full."""
    said: dict[IPv4Address, dict[IPv4Network, ExtendedPrefix]] = {}
    for each in accepted:
        prefixes = said.setdefault(each.router, {})
        before = prefixes.get(each.prefix, ExtendedPrefix(each.prefix))
        prefixes[each.prefix] = replace(before, bier=(*before.bier, each.bier))
    return {router: list(prefixes.values()) for router, prefixes in said.items()}


@PATIENT
@given(ADVERTISED)
def test_what_is_left_breaks_no_rule(advertised: dict[IPv4Address, list[ExtendedPrefix]]) -> None:
    verdict = accept(advertised, HERE)
    ids = [(each.bier.sub_domain, each.bier.mt_id, each.bier.bfr_id) for each in verdict.accepted if each.bier.bfr_id]
    assert len(set(ids)) == len(ids)
    for router in advertised:
        mine = [each.bier for each in verdict.accepted if each.router == router]
        assert len({bier.sub_domain for bier in mine}) == len(mine)
        labels = [label for bier in mine for encapsulation in bier.encapsulations for label in encapsulation.labels]
        assert len(set(labels)) == len(labels)
        assert all(label < 1 << 20 for label in labels)
    again = accept(advertisements(verdict.accepted), HERE)
    assert not again.ignored, "what was accepted once is accepted again"
