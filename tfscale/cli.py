"""`tfscale COMMAND ...`: finds the command; imports neither TensorFlow nor Hydra until one needs it."""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from tfscale import __version__
from tfscale.errors import RunError, UserError
from tfscale.terminal import logger, open_standard_streams, survive_write_errors

COMMANDS = {
    "train": "train a model; every word is a setting, KEY=VALUE",
    "resume": "go on with a run that ended early: tfscale resume [NAME]",
    "runs": "list runs, how far they are, and what kept them going",
    "evaluate": "measure a trained run on test data",
    "ls": "list groups and their options, recipes, data sets",
    "data": "fetch a data set: tfscale data fetch mnist",
    "doctor": "check this installation, Horovod included",
}

HELP = f"""tfscale {__version__}: distributed training for TensorFlow and Keras, from settings

usage: tfscale COMMAND [...]

{{commands}}

  tfscale train                                          digits, two replicas, under a minute, no network
  tfscale train model=lenet data=mnist strategy=sharing  two processes share compressed gradients
  tfscale train -m strategy=local,horovod,sharing        a sweep: each job in processes of its own
  tfscale train recipe=lenet_mnist_averaging             a recipe; tfscale ls shows all
  horovodrun -np 4 tfscale train strategy=horovod        started by a launcher of yours

`tfscale COMMAND --help` says more. TFSCALE_DEBUG=1 shows tracebacks.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        words: The command line without the program's name; None for this process's.

    Returns:
        Exit code: 0 done, 1 failed, 2 the user's input was wrong, 128 + n ended by signal n.
    """
    open_standard_streams()
    words = list(sys.argv[1:] if words is None else words)
    survive_write_errors("stderr")
    # TensorFlow's start-up chatter is off unless asked for; set before anything can import it.
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
        _complain(error)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; leave quietly, as other programs in a pipe do.
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
    module = importlib.import_module(f"tfscale.commands.{name}")
    return module.main(list(rest))


def _complain(error: UserError | RunError) -> None:
    """Prints the error, once for the whole job."""
    from tfscale.world import from_environment

    world = from_environment()
    if world is None or world.is_chief:
        problems = error.problems if isinstance(error, UserError) else [str(error)]
        for problem in problems:
            logger.error(problem)
