"""The one way to make an operation: what goes wrong in its body fails its host, with a sentence, and no other.

pyinfra lets an exception of a body end the run of every host.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator
from functools import wraps
from typing import ParamSpec

from pyinfra import logger
from pyinfra.api.arguments_typed import PyinfraOperation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.operation import operation as pyinfra_operation
from pyinfra.context import host, state

from ingot.errors import IngotError
from ingot.facts.errors import ParseError
from ingot.operations import connection, lock
from ingot.operations.refuse import refuse, refused
from ingot.runs import DEPLOY
from ingot.sizing import SizingError

P = ParamSpec("P")
Commands = Generator[PyinfraCommand, None, None]


def operation() -> Callable[[Callable[P, Commands]], PyinfraOperation[P]]:
    """
    Make an operation of a body: `@operation()` as pyinfra's own, with a guard around the body.

    `_inner` is the body without its guard, so that an operation which uses another sees what that raises.
    """

    def decorate(body: Callable[P, Commands]) -> PyinfraOperation[P]:
        made: PyinfraOperation[P] = pyinfra_operation()(guarded(body))
        made._inner = body
        return made

    return decorate


def guarded(body: Callable[P, Commands]) -> Callable[P, Commands]:
    """A body whose errors refuse its host; pyinfra's own are passed on, for it knows what they mean.

    A connection that is lost under the body, whose questions are then answered with nothing, refuses it too, and so
    does another run that holds the host: the first operation that executes holds it for this run.
    """

    @wraps(body)
    def guard(*args: P.args, **kwargs: P.kwargs) -> Commands:
        try:
            if state.is_executing:
                lock.hold(host, DEPLOY)
            for command in body(*args, **kwargs):
                if connection.lost(host):
                    break
                yield command
        except GeneratorExit:
            # pyinfra asks for no further command after one that failed.
            if sentence := connection.lost(host):
                refused(state, host, sentence)
            raise
        except ConnectError as error:
            yield refuse(_of_host(str(error.args[0])))
        except PyinfraError:
            # So ends a question to the last host of a run; where pyinfra executes, it would print a traceback.
            sentence = connection.lost(host)
            if not (sentence and state.is_executing):
                raise
            yield refuse(sentence)
        except (IngotError, SizingError, ParseError) as error:
            yield refuse(connection.lost(host) or "\n".join(map(_of_host, str(error).splitlines())))
        except OSError as error:
            # This machine's trouble: a file that a value names and that its user may not read, a disk that is full.
            where = f"{error.filename}: " if error.filename else ""
            yield refuse(_of_host(f"{where}{error.strerror or error}; mend that on this machine and run it again"))
        except Exception as error:
            logger.debug(traceback.format_exc())
            fault = _of_host(f"{_place(error)}; this is a fault of Ingot: report it, with what --debug prints")
            # Nothing was to be made of a question that was not answered.
            yield refuse(connection.lost(host) or fault)
        else:
            # Not above, where the end of this generator would say it again.
            if sentence := connection.lost(host):
                yield refuse(sentence)

    return guard


def _of_host(sentence: str) -> str:
    text = sentence if sentence.startswith(f"{host.name}: ") else f"{host.name}: {sentence}"
    return f"{text.rstrip('.')}."


def _place(error: Exception) -> str:
    """What was raised, and the last of Ingot's lines on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/ingot/" in frame.filename] or frames
    place = f"{ours[-1].filename.rpartition('/ingot/')[2]} line {ours[-1].lineno}"
    return f"{type(error).__name__} in {place} ({str(error) or 'without a word'})"
