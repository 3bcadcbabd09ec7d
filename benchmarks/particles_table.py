"""The page of `particles.py`, as Markdown, from its rows."""

import statistics

import leave_class
from digits_rows import cell
from digits_table import origins


def by_runs(rows: list[dict], *entries: str) -> dict[tuple, list[tuple[dict, dict]]]:
    """Group rows, each with its result, by some of their entries and the runs of both sides."""
    groups: dict = {}
    for row in rows:
        key = [row[entry] or "-" for entry in (*entries, "train")]
        for test, result in row["tests"].items():
            groups.setdefault((*key, test), []).append((row, result))
    return groups


def filter_table(rows: list[dict]) -> list[str]:
    """What the filter does to the class, to the others, and to a class that it never saw."""
    lines = [
        "",
        f"## A filter for one class, of images and scalars, at max_miss={rows[0]['max_miss']}",
        "",
        "Shares, mean over seeds (least to most). A threshold rests on a single held-out row. "
        "Rescued are rows that the classifier is sure of and that are kept, because they look like "
        "no class that it knows. A class never seen was left out of training.",
        "",
        "| removes | never seen | train | test | others missed | of the class: removed | rescued "
        "| never seen: missed | rescued | held out: missed | removed | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, found in by_runs(rows, "remove", "unseen").items():
        shares = {
            (group, what): [
                result[group][what] / result[group]["rows"]
                for _, result in found
                if result[group]["rows"]
            ]
            for group, what in (
                ("others", "removed"),
                ("removed", "removed"),
                ("removed", "rescued"),
                ("unseen", "removed"),
                ("unseen", "rescued"),
            )
        }
        held = [[row["held_out"][what] for row, _ in found] for what in ("missed", "removed")]
        cells = [cell(values) for values in [*shares.values(), *held]]
        lines.append(f"| {' | '.join([*key, *cells])} | {len(found)} |")
    plain = [row for row in rows if not row["unseen"]]
    sizes = sorted(
        {(test, r["others"]["rows"]) for row in plain for test, r in row["tests"].items()}
    )
    lines += ["", "Others: " + "; ".join(f"{n} rows in {test}" for test, n in sizes) + "."]
    return lines


def novel_table(rows: list[dict]) -> list[str]:
    """How far down each score ranks novel families, over seeds."""
    lines = [
        "",
        f"## Novel families {', '.join(rows[0]['novel'])}, 0.5 % each of {rows[0]['rows']:,}",
        "",
        f"Mean over {len(rows)} seed(s) (least to most). Above 0.5 a score ranks them below the "
        "rest. The sum of three is what was named for all seeds.",
        "",
        "| score | AUROC | share in the lowest 5 %: " + " | ".join(rows[0]["novel"]) + " |",
        "|---|---|" + "---|" * len(rows[0]["novel"]),
    ]
    for name in rows[0]["scores"]:
        scores = [row["scores"][name] for row in rows if name in row["scores"]]
        shares = [
            cell([score["in_lowest_5_percent"][family] for score in scores])
            for family in rows[0]["novel"]
        ]
        aurocs = cell([score["auroc"] for score in scores])
        lines.append(f"| {name} | {' | '.join([aurocs, *shares])} |")
    return lines


def show(rows: dict[str, dict], remove: str, image_size: int) -> str:
    """Return the page; `rows` holds every row that was measured, by the name of its file."""
    lines = ["# Particles", ""]

    def of(part: str) -> list[dict]:
        return [row for name, row in rows.items() if name.startswith(part)]

    if of("across"):
        lines += [
            f"## From one run to another ({image_size} px): mean over seeds (least to most)",
            "",
            f"| model | train | test | macro-F1 | {remove} AUROC | seeds |",
            "|---|---|---|---|---|---|",
        ]
    for (model, train, test), rows_and_results in by_runs(of("across"), "model").items():
        cells = [
            cell([result[key] for _, result in rows_and_results if key in result])
            for key in ("macro_f1", "auroc")
        ]
        n = len(rows_and_results)
        lines.append(f"| {model} | {train} | {test} | {' | '.join(cells)} | {n} |")
    if of("filter"):
        lines += filter_table(of("filter"))
    if of("leave_class"):
        lines += leave_class.table(of("leave_class"), image_size)
    if of("novel"):
        lines += novel_table(of("novel"))
    for row in of("loading"):
        rate = statistics.median(row["particles_per_second"])
        lines += ["", f"load_flowcam at {row['image_size']} px: {rate:.0f} particles per second."]
    for row in of("storage"):
        seconds = statistics.median(opened["seconds"] for opened in row["opened"])
        grows = statistics.median(opened["grows_mb"] for opened in row["opened"])
        lines += [
            "",
            f"make_particles of {row['drawn']:,} at 64 px: {row['draw_seconds']:.1f} s. "
            f"load_particles of {row['stored']:,} at 128 px ({row['file_mb']:,.0f} MB) in a fresh "
            f"process: {seconds:.2f} s, {grows:.0f} MB of resident memory.",
        ]
    lines += ["", "## Where the rows come from", "", origins(list(rows.values()))]
    return "\n".join(lines)
