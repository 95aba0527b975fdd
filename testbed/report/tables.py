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
    """One column a scheme; with several bundles, the schemes of each bundle side by side.

    A scheme of which no run counts shows one of its runs, greyed.
    """
    several = len(bundles) > 1
    columns = [
        Column(s.scheme if s.measured else f"{s.scheme} (not counted)", group=bundles[s.bundle] if several else "")
        for s in series
    ]

    def over_runs(figure: str, show: fmt.Format) -> Callable[[Series], Cell]:
        def cell(s: Series) -> Cell:
            made = fmt.cell(summarise(getattr(f, figure) for f in s.usable), show, len(s.measured))
            return made if s.measured else Cell(made.text, made.note, "muted")

        return cell

    lines: list[tuple[str, Callable[[Series], Cell]]] = [
        ("Runs that count", _runs_cell),
        ("Deliveries complete", _delivered_cell),
        ("Slowest site", _slowest_cell),
        ("… its delivery time", over_runs("slowest_s", fmt.seconds)),
        ("Lowest goodput of a site", over_runs("slowest_goodput", fmt.rate)),
        ("Longest outage at any site", over_runs("longest_outage_ms", fmt.ms)),
        ("… beyond the IGP's own repair", over_runs("beyond_igp_ms", fmt.beyond)),
        ("Sites with an outage", over_runs("interrupted_sites", fmt.count)),
        ("Probes lost, all sites", over_runs("lost", fmt.count)),
        ("Duplicate probes, all sites", over_runs("duplicates", fmt.count)),
        ("Bytes on all links", over_runs("link_bytes", fmt.size)),
        ("… the ideal tree's", over_runs("ideal_bytes", fmt.size)),
        ("… against the ideal tree", over_runs("against_ideal", fmt.ratio)),
    ]
    rows = tuple((Cell(head), *(cell(s) for s in series)) for head, cell in lines)
    heads = (Column("", number=False), *columns)
    note = " ".join(filter(None, (_legend(series), _beyond_legend(series))))
    return Table("Schemes compared", heads, rows, "runs.json: sites, links, stages", note)


def _legend(series: Sequence[Series]) -> str:
    most = max((len(s.measured) for s in series), default=0)
    said = []
    if any(not s.measured for s in series):
        said.append(f"Greyed: a run that does not count ({NOT_AVERAGED}).")
    if most >= 6:
        said.append("Medians of the runs that count; in small print the [95 % confidence interval], "
                    "below six runs the range.")  # fmt: skip
    elif most > 1:
        said.append("Medians of the runs that count; in small print their range.")
    return " ".join(said)


def _beyond_legend(series: Sequence[Series]) -> str:
    none = any(f.beyond_igp_ms == 0 for s in series for f in s.usable)
    return "Beyond the IGP: none, where packets were back before its repair was seen." if none else ""


def _runs_cell(series: Series) -> Cell:
    n, of = len(series.measured), len(series.runs)
    others = {r.outcome for r in series.runs if not counts(r)}
    return Cell(f"{n} of {of}", ", ".join(sorted(others)), "bad" if n < of else "")


def _slowest_cell(series: Series) -> Cell:
    names = list(dict.fromkeys(f.slowest.site for f in series.usable if f.slowest))
    if not names:
        return Cell(NONE, tone="muted")
    tone: Tone = "" if series.measured else "muted"
    return Cell(names[0], tone=tone) if len(names) == 1 else Cell("varies", ", ".join(names) if len(names) < 4 else "")


def _delivered_cell(series: Series) -> Cell:
    done = sum(f.delivered for f in series.usable)
    asked = sum(len(f.run.sites) for f in series.usable)
    if not asked:
        return Cell(NONE, tone="muted")
    tone: Tone = "bad" if done < asked else "good" if series.measured else "muted"
    return Cell(f"{done} of {asked}", tone=tone)


def sites(series: Sequence[Series]) -> Table:
    """Every destination under every scheme. A scheme of which no run counts shows one of its runs, greyed."""
    heads = ("Delivered", "Delivery", "Goodput", "First byte", "Outages", "Longest", "Lost", "Duplicates")
    columns = (Column("Scheme", number=False), Column("Site", number=False), *(Column(h) for h in heads))
    rows: list[Row | None] = []
    for s in series:
        if rows:
            rows.append(None)
        shown = site_figures([f.run for f in s.usable])
        rows += [_site_row(s.title, site, muted=not s.measured) for site in shown]
    return Table("Sites", columns, tuple(rows), "runs.json: sites", _legend(series), ditto=True)


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
        columns += [Column(head, group=s.title) for head in ("Bytes", "Ratio", "Drops")]
    per = [link_medians([f.run for f in s.usable]) for s in series]
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
