"""The tables of `speed.py`, as Markdown, from its JSON files."""

import statistics

FORMATS = ("bfloat16", "float32")  # the first that a machine has is what "auto" takes
METHODS = ("fit", "transform", "score_samples")


def show(device: str, results: dict[str, dict]) -> str:
    """Return all tables; `results` holds the JSON of every part that was measured."""
    threads = sorted({r["threads"] for r in results.values()})
    torches = sorted({r["versions"]["torch"] for r in results.values()})
    lines = [
        f"# Speed on {device}",
        "",
        f"Threads: {', '.join(map(str, threads))}; torch {', '.join(torches)}. The end says where "
        "each part comes from.",
        "",
        *fit_tables(results),
    ]
    for name, table in OTHERS.items():
        if name in results:
            lines += ["", *table(results[name])]
    return "\n".join([*lines, "", *origins(results)])


def origins(results: dict[str, dict]) -> list[str]:
    """Name the commit of each part, and how fast the machine multiplied before it."""
    lines = [
        "## Where the parts come from",
        "",
        "Matrix products were measured before each part: a shared machine is not always as fast.",
        "Ratios compare what took turns; images per second of two parts need not compare.",
        "",
        f"| part | commit | {' | '.join(f'{name}, GFLOP/s' for name in FORMATS)} |",
        "|---|---|---|---|",
    ]
    for name, result in results.items():
        products = result.get("products", {})
        cells = [f"{products[f]:.0f}" if f in products else "-" for f in FORMATS]
        lines.append(f"| {name} | {result['commit']} | {' | '.join(cells)} |")
    return lines


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def fit_tables(results: dict[str, dict]) -> list[str]:
    rows = sorted(
        (r for name, r in results.items() if name.startswith("fit_")),
        key=lambda r: (r["size"], r["model"] != "ResNet18Classifier", r["model"]),
    )
    contenders = sorted(
        {c for r in rows for c in r["images_per_second"]},
        key=lambda c: (c.startswith("("), c != "ours", c),  # ours first, then by their letters
    )
    lines = []
    for method in METHODS:
        lines += [
            f"## {method}: images per second, median (least to most)",
            "",
            "| pixels | model | " + " | ".join(contenders) + " |",
            "|---|---|" + "---|" * len(contenders),
        ]
        for row in rows:
            cells = []
            ours = statistics.median(row["images_per_second"]["ours"][method])
            for contender in contenders:
                values = row["images_per_second"].get(contender, {}).get(method)
                if not values:
                    cells.append("")
                elif contender == "ours":
                    cells.append(spread(values))
                else:
                    ratio = ours / statistics.median(values)
                    cells.append(f"{spread(values)}, ours **{ratio:.2f}x**")
            lines.append(f"| {row['size']} | {row['model']} | " + " | ".join(cells) + " |")
        lines.append("")
    return [*lines, *share_of_the_limit(rows)]


def share_of_the_limit(rows: list[dict]) -> list[str]:
    """How much of the machine's matrix products training the classifier reaches."""
    trained = [row for row in rows if row["training_gflop_per_image"] and "products" in row]
    lines = []
    if trained:
        taken = next(name for name in FORMATS if name in trained[0]["products"])
        lines = [
            f"## Training the classifier, as a share of the machine's {taken} matrix products",
            "",
            "| pixels | GFLOP per image | GFLOP/s reached | share |",
            "|---|---|---|---|",
        ]
    for row in trained:
        gflop = row["training_gflop_per_image"]
        reached = gflop * statistics.median(row["images_per_second"]["ours"]["fit"])
        share = reached / row["products"][taken]
        lines.append(f"| {row['size']} | {gflop:.2f} | {reached:.0f} | {share:.0%} |")
    return lines


def memory_table(result: dict) -> list[str]:
    fit, transform = result["fit"], result["transform"]
    return [
        "## Memory",
        "",
        f"Fitting {fit['images_mb']:.0f} MB of images (20,000 of 128x128, batch 128): peak "
        f"{fit['peak_mb']:.0f} MB resident, of which {fit['before_mb']:.0f} MB before the fit.",
        "",
        f"transform of a memory-mapped file of {transform['file_mb']:.0f} MB (100,000 images of "
        f"64x64): resident memory grows by {transform['growth_mb']:.0f} MB, of which "
        f"{transform['features_mb']:.0f} MB are the features returned.",
    ]


def scaling_table(result: dict) -> list[str]:
    lines = ["## Time against rows (classifier, 28 px, 2 epochs)", ""]
    for method, times in result["seconds"].items():
        parts = [f"{int(n):,} rows {statistics.median(t):.1f} s" for n, t in times.items()]
        lines.append(f"- {method}: {', '.join(parts)}: exponent {result['exponent'][method]:.3f}")
    return lines


def quality_table(result: dict) -> list[str]:
    lines = [
        f"## Quality after equal training ({result['rows']:,} MNIST images, {result['epochs']} "
        "epochs, three seeds)",
        "",
        "| precision | accuracy (known digits: all) | ELBO, nats (Bernoulli, grey levels) |",
        "|---|---|---|",
    ]
    for precision in [name for name in FORMATS if name in result["accuracy"]]:
        cells = []
        for name, digits in (("accuracy", 4), ("ELBO", 2)):
            values = result[name][precision]
            each = ", ".join(f"{v:.{digits}f}" for v in values)
            cells.append(
                f"{statistics.mean(values):.{digits}f} +- {statistics.stdev(values):.{digits}f} "
                f"({each})"
            )
        lines.append(f"| {precision} | {' | '.join(cells)} |")
    return lines


def search_table(result: dict) -> list[str]:
    lines = ["## GridSearchCV, 4 fits and a refit, seconds in a fresh process", ""]
    for key, values in result.items():
        if key.startswith("OMP"):
            lines.append(f"- {key}: {statistics.median(values):.1f} s")
    return lines


OTHERS = {
    "memory": memory_table,
    "scaling": scaling_table,
    "quality": quality_table,
    "search": search_table,
}
