"""The exceptions that the command line tells apart from a defect."""


class InputError(ValueError):
    """Something the user can fix: config, data, paths, credentials. Exit code 2, message only, no traceback."""


class MissingFileError(InputError):
    """There is no file of that name (any more)."""


class DamagedFileError(InputError):
    """A file that is not what its writer wrote: cut off, or with other bits."""


class SurroundingsError(RuntimeError):
    """What the job stands on gave way while it worked: disk, memory, object store. Exit code 1, message only.

    Config and input are right, and what is finished stays: the same command goes on.
    """


class OutputHeldError(RuntimeError):
    """Another run is writing the output directory now. Exit code 3."""


def find_cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the first exception of `kind` in the chain of causes of `error`, or None.

    Ray wraps what a task raises, sometimes several layers deep: `cause` on its own exceptions, `__cause__` and
    `__context__` elsewhere. A wrapper that imitates the cause's class is passed over for the cause itself, whose
    message is the clean one.
    """
    seen: set[int] = set()
    found: BaseException | None = None
    todo: list[BaseException] = [error]
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, kind):
            found = current
            if not hasattr(current, "cause"):
                return current
        causes = (getattr(current, "cause", None), current.__cause__, current.__context__)
        todo += [cause for cause in causes if isinstance(cause, BaseException)]
    return found
