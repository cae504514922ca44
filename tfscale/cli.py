"""Entry point of `tfscale COMMAND ...`: parses the arguments, then imports the command and runs it.

TensorFlow, Hydra and pydantic are imported by the command that needs them, so `--help` answers at once.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from tfscale import __version__, keras_backend
from tfscale.commands import arguments
from tfscale.errors import RunError, UserError
from tfscale.terminal import logger, open_standard_streams, survive_write_errors

COMMANDS = {
    "train": "train a model; settings are KEY=VALUE",
    "resume": "continue a run that ended early: tfscale resume [NAME]",
    "runs": "list runs: state, step, result, restarts",
    "reproduce": "run a run's settings again and compare the bits: tfscale reproduce NAME",
    "evaluate": "measure a trained run on its test data: tfscale evaluate NAME",
    "predict": "predict examples with a trained model: tfscale predict NAME data.file=FILE to=DIR",
    "export": "write a trained model for other programs: tfscale export NAME format=keras",
    "report": "write an HTML page about a run, several runs or a sweep: tfscale report NAME ...",
    "estimate": "predict how a job scales over a link, strategy by strategy",
    "ls": "list groups and their options, recipes, data sets",
    "data": "fetch a data set, or export any to TFRecord shards",
    "doctor": "check this installation, Horovod included",
}
"""Command -> what it does; the same names as `arguments.PARSERS`."""

USES_KERAS = ("train", "resume", "reproduce", "evaluate", "predict", "export", "estimate", "data")
"""Commands that import Keras; doctor reports its backend."""

HELP = f"""tfscale {__version__}: config-driven distributed training for TensorFlow and Keras

usage: tfscale COMMAND [...]

{{commands}}

  tfscale train                                          digits, two replicas, under a minute, no network
  tfscale train model=lenet data=mnist strategy=sharing  two processes share compressed gradients
  tfscale train -m strategy=local,horovod,sharing        a sweep; each job in its own processes
  tfscale train recipe=lenet_mnist_averaging             a recipe; tfscale ls shows all
  horovodrun -np 4 tfscale train strategy=horovod        started by a launcher of your own

`tfscale COMMAND --help` says more. TFSCALE_DEBUG=1 shows tracebacks.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        words: The command line without the program's name; None for that of this process.

    Returns:
        Exit code: 0 done, 1 failed, 2 wrong input, 128 + n ended by signal n.
    """
    open_standard_streams()
    words = list(sys.argv[1:] if words is None else words)
    survive_write_errors("stderr")
    # Set before anything imports TensorFlow.
    if "TFSCALE_DEBUG" not in os.environ:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not words or words[0] in ("-h", "--help", "help"):
        lines = "\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items())
        print(HELP.format(commands=lines), end="")
        return 0
    if words[0] in ("-V", "--version", "version"):
        print(f"tfscale {__version__}")
        return 0
    try:
        return _dispatch(words[0], words[1:])
    except (UserError, RunError) as error:
        if "TFSCALE_DEBUG" in os.environ:
            traceback.print_exc()
        _print_error(error)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone: exit silently, as other programs in a pipe do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _dispatch(name: str, rest: Sequence[str]) -> int:
    if name not in COMMANDS:
        from tfscale.config.suggest import closest

        near = closest(name, COMMANDS)
        hint = f"did you mean tfscale {near}?" if near else "type: tfscale --help"
        if "=" in name:
            hint = f"did you mean tfscale train {name}?"
        raise UserError(f"{name} is not a command; {hint}")
    flags = arguments.PARSERS[name]().read(rest)
    if flags is None:
        return 0
    flags.command = ("tfscale", name, *rest)
    _check_environment(name)
    return importlib.import_module(f"tfscale.commands.{name}").main(flags)


def _check_environment(name: str) -> None:
    """Makes the environment one in which the command can run.

    Raises:
        UserError: It is not, and only the user can change it.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the current folder has been removed; change to another one: cd DIR") from None
    os.environ["MPLBACKEND"] = "agg"  # plots are files; a notebook's backend may not be installed here
    if name in USES_KERAS:
        keras_backend.require()


def _print_error(error: UserError | RunError) -> None:
    """Prints the error, in one process of the job."""
    from tfscale.world import from_environment

    world = from_environment()
    if world is None or world.is_chief:
        problems = error.problems if isinstance(error, UserError) else [str(error)]
        for problem in problems:
            logger.error(problem)
