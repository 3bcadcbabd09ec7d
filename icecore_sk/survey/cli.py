"""The command `icecore`."""

import argparse
import contextlib
import sys
import time
import warnings

from icecore_sk import VAE, AutoEncoder, FlowVAE, __version__, load
from icecore_sk.datasets import load_flowcam, load_particles
from icecore_sk.datasets.labels import join_labels, read_labels
from icecore_sk.survey._score_particles import score_particles
from icecore_sk.survey.demo import run_demo

IMAGE_SIZE, MIN_SIDE = 32, 15  # pixels
MODELS = {model.__name__: model for model in (AutoEncoder, FlowVAE, VAE)}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="icecore",
        description="Find the particles that nobody has labelled.",
        epilog="Start with: icecore demo",
    )
    parser.add_argument("--version", action="version", version=f"icecore_sk {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="leave digits out of training and find them again",
        description=(
            "Train a classifier and a FlowVAE on handwritten digits without two of them, map all "
            "digits, cluster the map, score novelty, and print how well the digits never seen "
            "show. Takes under three minutes on two cores with the default data."
        ),
        epilog="Example: icecore demo --data mnist --held-out 1 7 --out my_demo",
    )
    demo.add_argument(
        "--data",
        choices=["digits", "mnist"],
        default="digits",
        help="scikit-learn's 1,797 digits (default, no download), or MNIST: taken from the folder "
        "that ICECORE_DATA names, else downloaded (about 10 minutes on two cores)",
    )
    demo.add_argument(
        "--held-out",
        type=int,
        nargs="+",
        default=[2, 6],
        metavar="DIGIT",
        help="digits that no model sees (default: 2 6)",
    )
    demo.add_argument(
        "--out",
        default="icecore_demo",
        metavar="FOLDER",
        help="where maps.png and particles.csv go (default: icecore_demo)",
    )
    demo.add_argument("--seed", type=int, default=0, help="governs everything random (default: 0)")
    demo.add_argument("--quiet", action="store_true", help="print the table only")
    demo.set_defaults(run=demo_command)
    add_survey(commands)
    add_report(commands)
    add_score(commands)
    return parser


def add_survey(commands) -> None:
    """Add the subcommand `survey`."""
    survey = commands.add_parser(
        "survey",
        help="map, cluster and list the outliers of FlowCam runs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Read particles, learn what they look like, and write a folder with a report to open\n"
            "in a browser: maps of all particles, clusters, and the most unusual ones with the\n"
            "reason. No labels are needed; with labels, a classifier names the others, and one\n"
            "class, such as dust, can be removed first.\n\n"
            "It may be stopped at any time. The same command goes on where it was."
        ),
        epilog=(
            "examples:\n"
            "  icecore survey run1/ run2/ --out found\n"
            "  icecore survey run1/ run2/ --labels labels.csv --remove Junk --out found\n"
            "  icecore survey particles.arrow --epochs 30 --out found\n\n"
            "files in the folder:\n"
            "  report.html        start here; opens in any browser, without network\n"
            "  report_files/      its thumbnails above 20,000 particles; keep it beside it\n"
            "  particles.parquet  a row for each particle: place, cluster, score and reason\n"
            "  images.arrow, pipeline.joblib (fitted models), survey.json (record), figures/\n"
            "  steps/             lets a stopped survey go on; may be deleted when it has ended"
        ),
    )
    survey.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folders exported by VisualSpreadsheet, folders of such folders, or one particle file "
        "(.arrow)",
    )
    survey.add_argument(
        "--labels",
        metavar="FILE",
        help="CSV with the columns 'Original Reference ID' and 'label', for some of the particles",
    )
    survey.add_argument(
        "--remove", metavar="CLASS", help="class to remove first, such as dust (needs --labels)"
    )
    survey.add_argument(
        "--max-miss",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="largest share of the other classes that --remove may cost (default: 0.01)",
    )
    survey.add_argument("--out", required=True, metavar="FOLDER", help="where everything goes")
    add_options(survey)
    survey.add_argument("--quiet", action="store_true", help="print the path of the report only")
    survey.set_defaults(run=survey_command)


def add_options(survey: argparse.ArgumentParser) -> None:
    """Add the options of `survey` that have a good default."""
    survey.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="side to which crops of exported folders are resized; larger sees more and takes "
        f"longer, with the square of it (default: {IMAGE_SIZE})",
    )
    survey.add_argument(
        "--min-side",
        type=int,
        metavar="PIXELS",
        help="crops of exported folders with a shorter side are left out, and counted (default: "
        f"{MIN_SIDE})",
    )
    survey.add_argument(
        "--epochs",
        type=int,
        default=15,
        help="passes over the particles that the networks learn from (default: 15)",
    )
    survey.add_argument(
        "--model",
        choices=sorted(MODELS),
        default="VAE",
        help="network that learns without labels (default: VAE)",
    )
    survey.add_argument(
        "--latent-dim", type=int, default=16, help="numbers per particle (default: 16)"
    )
    survey.add_argument(
        "--min-cluster-size",
        type=int,
        metavar="N",
        help="fewest particles of a cluster (default: one in a hundred of those kept, at least 10)",
    )
    survey.add_argument(
        "--contamination",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="share of the particles listed as outliers (default: 0.01)",
    )
    survey.add_argument(
        "--seed", type=int, default=0, help="governs everything random (default: 0)"
    )


def add_report(commands) -> None:
    """Add the subcommand `report`."""
    report = commands.add_parser(
        "report",
        help="write the report of a finished survey anew",
        description=(
            "Write report.html and the figures of a finished survey again, from the particles "
            "and results in its folder, for example with a newer version."
        ),
        epilog="Example: icecore report found",
    )
    report.add_argument("folder", metavar="FOLDER", help="the --out of a survey")
    report.set_defaults(run=report_command)


def add_score(commands) -> None:
    """Add the subcommand `score`."""
    score = commands.add_parser(
        "score",
        help="score any number of particles with a fitted model",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Read a particle file chunk by chunk, and write what a fitted model says of each\n"
            "particle to a folder of Parquet files. The file may be larger than the memory.\n\n"
            "It may be stopped at any time. The same command goes on where it was."
        ),
        epilog=(
            "examples:\n"
            "  icecore score outliers.safetensors particles.arrow --out scores\n"
            "  icecore score vae.safetensors particles.arrow --methods transform --out latent\n"
            "  icecore score vae.safetensors particles.arrow --out latent \\\n"
            "      --scheduler tcp://10.0.0.1:8786\n\n"
            "files in the folder:\n"
            "  part-00000.parquet and so on: the particles' index and a column for each answer;\n"
            "  pandas.read_parquet(FOLDER) reads all of them as one table"
        ),
    )
    score.add_argument("model", metavar="MODEL", help="file written by icecore_sk.save")
    score.add_argument(
        "particles",
        metavar="PARTICLES",
        help="particle file (.arrow), as icecore_sk.datasets.save_particles writes it",
    )
    score.add_argument("--out", required=True, metavar="FOLDER", help="where the results go")
    score.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="of the model: transform, score_samples, predict, predict_proba, explain and others "
        "(default: explain, or else those of the first three that there are)",
    )
    score.add_argument(
        "--chunk-size",
        type=int,
        default=8192,
        metavar="N",
        help="most particles of one file, which are in memory at a time (default: 8192)",
    )
    score.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster, whose workers then score; they see PARTICLES and FOLDER under the "
        "same paths",
    )
    score.add_argument("--quiet", action="store_true", help="print the path of the folder only")
    score.set_defaults(run=score_command)


def survey_command(args: argparse.Namespace) -> None:
    """Run `icecore survey`."""
    from icecore_sk.survey._workflow import default_classifier, survey

    if args.remove is not None and args.labels is None:
        raise ValueError(f"--remove {args.remove} needs --labels to learn the class from.")
    particles, labels = read_particles(args)
    result = survey(
        particles,
        labels,
        out=args.out,
        remove=args.remove,
        max_miss=args.max_miss,
        model=MODELS[args.model](latent_dim=args.latent_dim, max_epochs=args.epochs),
        classifier=default_classifier(args.epochs),
        min_cluster_size=args.min_cluster_size,
        contamination=args.contamination,
        random_state=args.seed,
        verbose=int(not args.quiet),
    )
    if not args.quiet:
        print(result.summary())
    print(f"{args.out}/report.html")


def read_particles(args: argparse.Namespace):
    """Return the particles, and their labels where a file was named."""
    files = [run for run in args.runs if run.endswith(".arrow")]
    if not files:
        read = load_flowcam(
            args.runs,
            IMAGE_SIZE if args.image_size is None else args.image_size,
            min_side=MIN_SIDE if args.min_side is None else args.min_side,
            labels=args.labels,
            verbose=int(not args.quiet),
        )
        return read if args.labels else (read, None)
    if len(args.runs) > 1:
        raise ValueError(
            f"{files[0]} is a particle file, and {len(args.runs)} inputs are named. Pass one "
            "particle file, or folders."
        )
    for option, value in (("--image-size", args.image_size), ("--min-side", args.min_side)):
        if value is not None:
            raise ValueError(
                f"{option} {value} is for folders of exports, and {files[0]} is a particle file, "
                "whose images are taken as they are. Leave it out, or give load_flowcam the size "
                "when you make the file."
            )
    # Before the images, as load_flowcam does.
    known = read_labels(args.labels) if args.labels else None
    particles = load_particles(files[0])
    if known is None:
        return particles, None
    labels, particles.attrs["labels"] = join_labels(known, particles.index)
    return particles, labels


def report_command(args: argparse.Namespace) -> None:
    """Run `icecore report`."""
    from icecore_sk.survey._results import write_pages

    print(write_pages(args.folder))


def score_command(args: argparse.Namespace) -> None:
    """Run `icecore score`."""
    with contextlib.ExitStack() as stack:
        client = None
        if args.scheduler is not None:
            from icecore_sk.survey._workers import connect

            client = stack.enter_context(connect(args.scheduler))
        score_particles(
            load(args.model),
            args.particles,
            args.out,
            methods=args.methods,
            chunk_size=args.chunk_size,
            client=client,
            verbose=int(not args.quiet),
        )
    print(args.out)


def demo_command(args: argparse.Namespace) -> None:
    """Run `icecore demo`."""
    started = time.perf_counter()
    table = run_demo(args.data, args.out, tuple(args.held_out), args.seed, int(not args.quiet))
    print(table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="-"))
    print(
        f"Wrote {args.out}/maps.png and {args.out}/particles.csv "
        f"({time.perf_counter() - started:.0f} s)."
    )


def show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Print a warning as errors are printed: who runs a command did not write the line it names."""
    print(f"icecore: warning: {message}", file=sys.stderr)


def main(argv=None) -> int:
    """Run the command line; errors are one line and exit code 1, wrong usage is exit code 2."""
    args = make_parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            args.run(args)
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        print(f"icecore: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("icecore: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
