"""The tables of a report. Each says in `source` where in a bundle its numbers come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from testbed.record import LinkResult, Outcome, Run
from testbed.report import fmt
from testbed.report.figures import RunFigures, Series, SiteFigures, counts, site_figures, site_labels
from testbed.report.stats import summarise
from testbed.report.table import NONE, Cell, Column, Table, Tone

Row = tuple[Cell, ...]

OUTCOME_TONE: dict[Outcome, Tone] = {"passed": "good", "failed": "bad", "invalid": "bad", "interrupted": "bad",
                                     "unsupported": "muted"}  # fmt: skip
NOT_AVERAGED = "shown, not averaged"


def comparison(series: Sequence[Series], bundles: Sequence[str]) -> Table:
    """One column a scheme; with several bundles, the schemes of each bundle side by side."""
    columns = [Column(s.scheme, group=bundles[s.bundle] if len(bundles) > 1 else "") for s in series]
    lines: list[tuple[str, Callable[[Series], Cell]]] = [
        ("Runs that count", _runs_cell),
        ("Deliveries complete", _delivered_cell),
        ("Slowest site", _slowest_cell),
        ("… its delivery time", lambda s: fmt.cell(s.of("slowest_s"), fmt.seconds, len(s.measured))),
        ("Lowest goodput of a site", lambda s: fmt.cell(s.of("slowest_goodput"), fmt.rate, len(s.measured))),
        ("Longest outage at any site", lambda s: fmt.cell(s.of("longest_outage_ms"), fmt.ms)),
        ("… beyond the IGP's own repair", lambda s: fmt.cell(s.of("beyond_igp_ms"), fmt.ms)),
        ("Sites with an outage", lambda s: fmt.cell(s.of("interrupted_sites"), fmt.count)),
        ("Probes lost, all sites", lambda s: fmt.cell(s.of("lost"), fmt.count)),
        ("Duplicate probes, all sites", lambda s: fmt.cell(s.of("duplicates"), fmt.count)),
        ("Bytes on all links", lambda s: fmt.cell(s.of("link_bytes"), fmt.size)),
        ("… the ideal tree's", lambda s: fmt.cell(s.of("ideal_bytes"), fmt.size)),
        ("… against the ideal tree", lambda s: fmt.cell(s.of("against_ideal"), fmt.ratio)),
    ]
    rows = tuple((Cell(head), *(cell(s) for s in series)) for head, cell in lines)
    heads = (Column("", number=False), *columns)
    return Table("Schemes compared", heads, rows, "runs.json: sites, links", _spread(series))


def _spread(series: Sequence[Series]) -> str:
    most = max((len(s.measured) for s in series), default=0)
    if most < 2:
        return ""
    if most < 6:
        return "Medians of the runs that count; in small print their range."
    return "Medians of the runs that count; in small print the [95 % confidence interval], below six runs the range."


def _runs_cell(series: Series) -> Cell:
    n, of = len(series.measured), len(series.runs)
    others = {r.outcome for r in series.runs if not counts(r)}
    return Cell(f"{n} of {of}", ", ".join(sorted(others)), "bad" if n < of else "")


def _slowest_cell(series: Series) -> Cell:
    names = list(dict.fromkeys(f.slowest.site for f in series.measured if f.slowest))
    if not names:
        return Cell(NONE, tone="muted")
    return Cell(names[0]) if len(names) == 1 else Cell("varies", ", ".join(names) if len(names) < 4 else "")


def _delivered_cell(series: Series) -> Cell:
    done = sum(f.delivered for f in series.measured)
    asked = sum(len(f.run.sites) for f in series.measured)
    if not asked:
        return Cell(NONE, tone="muted")
    return Cell(f"{done} of {asked}", tone="good" if done == asked else "bad")


def sites(series: Sequence[Series]) -> Table:
    """Every destination under every scheme. A scheme of which no run counts shows its first run, greyed."""
    heads = ("Delivered", "Delivery", "Goodput", "First byte", "Outages", "Longest", "Lost", "Duplicates")
    columns = (Column("Scheme", number=False), Column("Site", number=False), *(Column(h) for h in heads))
    rows: list[Row | None] = []
    for s in series:
        if rows:
            rows.append(None)
        usable = [f.run for f in s.measured]
        rows += [_site_row(s.label, site, muted=not usable) for site in site_figures(usable or s.runs[:1])]
    note = _spread(series)
    if any(not s.measured for s in series):
        note = f"Greyed: a run that does not count ({NOT_AVERAGED}). {note}".strip()
    return Table("Sites", columns, tuple(rows), "runs.json: sites", note, ditto=True)


def sites_brief(series: Sequence[Series]) -> Table:
    """The table of sites for a terminal 80 columns wide."""
    whole = sites(series)
    keep = [i for i, c in enumerate(whole.columns) if c.head not in ("Delivered", "First byte", "Duplicates")]
    delivered = next(i for i, c in enumerate(whole.columns) if c.head == "Delivered")

    def brief(row: Row) -> Row:
        cells = [row[i] for i in keep]
        if row[delivered].tone == "bad":  # say it where the delivery time would stand
            text = "not delivered" if row[delivered].text == "no" else row[delivered].text
            cells[1] = Cell(cells[1].text, row[delivered].note)
            cells[2] = Cell(text, cells[2].note, "bad")
        return tuple(cells)

    rows = tuple(brief(row) if row else None for row in whole.rows)
    return Table(whole.title, tuple(whole.columns[i] for i in keep), rows, whole.source, whole.note, ditto=True)


def _site_row(label: str, site: SiteFigures, *, muted: bool) -> Row:
    reasons = ", ".join(dict.fromkeys(r.reason for r in site.results if r.reason))
    complete = site.delivered == len(site.results)
    if len(site.results) == 1:
        delivered = Cell("yes" if complete else "no", reasons, "good" if complete else "bad")
    else:
        delivered = Cell(f"{site.delivered} of {len(site.results)}", reasons, "good" if complete else "bad")
    row = (
        Cell(label),
        Cell(site.label),
        delivered,
        fmt.cell(site.delivery_s, fmt.seconds),
        fmt.cell(site.goodput, fmt.rate),
        fmt.cell(site.first_byte_s, fmt.seconds),
        fmt.cell(site.outages, fmt.count),
        fmt.cell(site.longest_ms if site.longest_ms and site.longest_ms.maximum else None, fmt.ms),
        fmt.cell(site.lost, fmt.count),
        fmt.cell(site.duplicates, fmt.count),
    )
    return tuple(Cell(c.text, c.note, "muted") for c in row) if muted else row


def outages(series: Sequence[Series]) -> Table:
    """Every outage of every run, one a row."""
    heads = ("Run", "Start", "Length", "Lost", "Duplicates")
    columns = (Column("Scheme", number=False), Column("Site", number=False), *(Column(h) for h in heads),
               Column("Follows", number=False))  # fmt: skip
    rows = []
    for s in series:
        labels = site_labels(s.runs)
        for run in s.runs:
            for site in run.sites:
                for o in site.outages:
                    cells = (
                        s.label,
                        labels[site.sync, site.name],
                        str(run.repetition),
                        fmt.seconds(o.start_s),
                        fmt.ms(o.length_ms),
                        fmt.count(o.lost),
                        fmt.count(o.duplicates),
                        o.cause or "nothing known",
                    )
                    tone: Tone = "" if counts(run) else "muted"
                    rows.append(tuple(Cell(c, tone=tone) for c in cells))
    note = "Start: seconds after the first sync began. Greyed: runs that do not count." if rows else ""
    source = "runs.json: sites[].outages; probes/<host>.csv"
    return Table("Outages, one by one", columns, tuple(rows), source, note, ditto=True)


def troubles(series: Sequence[Series]) -> Table:
    """The runs that did not pass, and why."""
    columns = (Column("Scheme", number=False), Column("Run"), Column("Outcome", number=False), Column("Delivered"),
               Column("Why", number=False))  # fmt: skip
    rows = tuple(
        (Cell(s.label), Cell(str(r.repetition)), Cell(r.outcome, "" if counts(r) else NOT_AVERAGED, "bad"),
         Cell(f"{RunFigures(r).delivered} of {len(r.sites)}"), Cell(r.reason or NONE))
        for s in series for r in s.runs if r.outcome != "passed"
    )  # fmt: skip
    return Table("Runs that did not pass", columns, rows, "runs.json: outcome, reason", ditto=True)


def runs(series: Sequence[Series]) -> Table:
    """Every run with its outcome, those that do not count included."""
    heads = ("Run", "Seed", "Outcome", "Delivered", "Slowest site", "Longest outage", "Against ideal")
    columns = (Column("Scheme", number=False), *(Column(h, number=h != "Outcome") for h in heads))
    rows = []
    for s in series:
        for run in s.runs:
            f, tone = RunFigures(run), OUTCOME_TONE[run.outcome]
            note = run.reason if counts(run) else "; ".join(filter(None, (run.reason, NOT_AVERAGED)))
            cells = [
                Cell(f"{f.delivered} of {len(run.sites)}"),
                fmt.value(f.slowest_s, fmt.seconds),
                fmt.value(f.longest_outage_ms, fmt.ms),
                fmt.value(f.against_ideal, fmt.ratio),
            ]
            if not counts(run):
                cells = [Cell(c.text, c.note, "muted") for c in cells]
            head = (Cell(s.label), Cell(str(run.repetition)), Cell(str(run.seed)), Cell(run.outcome, note, tone))
            rows.append((*head, *cells))
    return Table("Runs", columns, tuple(rows), "runs.json: outcome, reason, seed", ditto=True)


def links(series: Sequence[Series]) -> Table:
    """Bytes of each direction of each link, per scheme, against what the ideal tree would put there."""
    columns = [Column("Link", number=False), Column("Direction", number=False), Column("Ideal tree")]
    for s in series:
        columns += [Column("Bytes", group=s.label), Column("Ratio", group=s.label), Column("Drops", group=s.label)]
    per = [link_medians(_usable(s)) for s in series]
    rows = []
    for key in dict.fromkeys(k for found in per for k in found):
        results = [found.get(key) for found in per]
        ideal = next(r.ideal_bytes for r in results if r)
        row = [Cell(key[0]), Cell(f"{key[1]} → {key[2]}"), Cell(fmt.size(ideal) if ideal else NONE)]
        for r in results:
            row += _link_cells(r)
        rows.append(tuple(row))
    note = "Medians over the runs that count. A link without an ideal figure lies off the ideal tree."
    return Table("Links", tuple(columns), tuple(rows), "runs.json: links", note)


def _usable(series: Series) -> tuple[Run, ...]:
    return tuple(f.run for f in series.measured) or series.runs[:1]


def _link_cells(result: LinkResult | None) -> list[Cell]:
    if result is None:
        return [Cell(NONE, tone="muted")] * 3
    share = fmt.ratio(result.bytes / result.ideal_bytes) if result.ideal_bytes else NONE
    return [
        Cell(fmt.size(result.bytes)),
        Cell(share, tone="" if result.ideal_bytes else "muted"),
        Cell(fmt.count(result.drops), tone="bad" if result.drops else "muted"),
    ]


def link_medians(found: Sequence[Run]) -> dict[tuple[str, str, str], LinkResult]:
    """By (link, from, to): the median bytes, packets and drops of each direction of each link."""
    by_key: dict[tuple[str, str, str], list[LinkResult]] = {}
    for run in found:
        for link in run.links:
            by_key.setdefault((link.link, link.src, link.dst), []).append(link)
    return {key: _median_link(results) for key, results in by_key.items()}


def _median_link(results: Sequence[LinkResult]) -> LinkResult:
    def median(values: list[int]) -> int:
        summary = summarise(values)
        return round(summary.median) if summary else 0

    first = results[0]
    return LinkResult(
        first.link, first.src, first.dst,
        median([r.bytes for r in results]), median([r.packets for r in results]), median([r.drops for r in results]),
        first.ideal_bytes, first.is_lan,
    )  # fmt: skip
