"""What setting a sync up costs when that happens on demand: from its start to the first packet, and in messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from testbed.record import Run, SiteResult
from testbed.report import fmt
from testbed.report.figures import Series, own_messages
from testbed.report.loose import number
from testbed.report.stats import Summary, summarise
from testbed.report.table import NONE, Cell, Column, Table


def setups(series: Sequence[Series]) -> Table:
    """A column a scheme; empty where nothing was set up on demand. Of what was set up beforehand it has the first byte
    and the messages, to compare with."""
    columns = (Column("", number=False), *(Column(s.title) for s in series))
    lines: list[tuple[str, Callable[[Series], Cell]]] = [
        ("Syncs set up on demand", _over_runs(lambda run: len(run.setups), fmt.count)),
        ("Start to first packet at a site", _over_sites(lambda s: s.setup_ms, on_demand=True)),
        ("… at a sync's last site", _over_syncs),
        ("… at the last site of all", _worst),
        ("Start to flow prepared by the scheme", _flow),
        ("Start to first byte of the model", _over_sites(_first_byte_ms, on_demand=True)),
        ("… of syncs set up beforehand", _over_sites(_first_byte_ms, on_demand=False)),
        ("Own messages in the run, hellos left out", _over_runs(own_messages, fmt.count)),
        ("… for each sync", _over_runs(_messages_each, fmt.count)),
    ]
    rows: tuple[tuple[Cell, ...], ...] = ()
    if any(f.run.setups for s in series for f in s.usable):
        made = ((Cell(head), *(cell(s) for s in series)) for head, cell in lines)
        rows = tuple(row for row in made if any(cell.text != NONE for cell in row[1:]))
    note = (
        "From the sync's start: nothing of its flow, tree or joins stood before. The first packet is a probe; the "
        "transport's own first byte comes after its receivers have started, too. Medians, with their range."
        if rows
        else ""
    )
    return Table("Set up on demand", columns, rows, "runs.json: sites[].setup_ms, setups, control", note)


def _first_byte_ms(site: SiteResult) -> float | None:
    return None if site.first_byte_s is None else site.first_byte_s * 1000


def _messages_each(run: Run) -> float | None:
    """None where some syncs were set up beforehand: their trees are kept up with the same messages."""
    syncs = {site.sync for site in run.sites}
    return own_messages(run) / len(syncs) if syncs and len(syncs) == len(run.setups) else None


def _over_sites(value: Callable[[SiteResult], float | None], *, on_demand: bool) -> Callable[[Series], Cell]:
    def sites(run: Run) -> list[SiteResult]:
        demanded = {row.get("sync") for row in run.setups}
        return [site for site in run.sites if (site.sync in demanded) == on_demand]

    return lambda s: _cell(value(site) for f in s.usable for site in sites(f.run))


def _over_runs(value: Callable[[Run], float | None], show: fmt.Format) -> Callable[[Series], Cell]:
    return lambda s: fmt.cell(summarise(value(f.run) for f in s.usable), show)


def _over_syncs(series: Series) -> Cell:
    return _cell(_last_sites(series))


def _worst(series: Series) -> Cell:
    return fmt.value(max(_last_sites(series), default=None), fmt.ms)


def _flow(series: Series) -> Cell:
    return _cell(number(row.get("flow_ms")) for f in series.usable for row in f.run.setups)


def _last_sites(series: Series) -> Iterator[float]:
    """Of each sync of each run: when the last of its sites had its first packet; left out where one never had."""
    for figures in series.usable:
        for sync in dict.fromkeys(site.sync for site in figures.run.sites):
            times = [site.setup_ms for site in figures.run.sites if site.sync == sync]
            known = [t for t in times if t is not None]
            if times and len(known) == len(times):
                yield max(known)


def _cell(values: Iterable[float | None]) -> Cell:
    """A median and the range: what is summed up here is not repetitions alone, so that a confidence interval of the
    median would claim too much."""
    found: Summary | None = summarise(values)
    if found is None:
        return Cell(NONE, tone="muted")
    spread = "" if found.minimum == found.maximum else fmt.between(found.minimum, found.maximum, fmt.ms)
    return Cell(fmt.ms(found.median), spread)
