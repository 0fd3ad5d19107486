"""The few kinds of error a person can meet, each with its exit code.

An error says what was found, what was expected and, in `hint`, what to do next. The command line prints
`error: MESSAGE` and `hint: HINT` on stderr and exits with `exit_code`; library callers catch `MlpExportError`.
"""


class MlpExportError(Exception):
    """Base of every error meant for the person in front of the screen."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class VerificationError(MlpExportError):
    """The artifact does not do what the model does (exit code 1)."""

    exit_code = 1


class UsageError(MlpExportError):
    """An option or a combination of options that cannot be carried out (exit code 2)."""

    exit_code = 2


class InputError(MlpExportError):
    """A model, checkpoint, bundle or prompt that cannot be used (exit code 3)."""

    exit_code = 3


class MissingError(MlpExportError):
    """Something this machine or device lacks: a package, the network, a permission, a device (exit code 4)."""

    exit_code = 4


class ResourceError(MlpExportError):
    """Not enough memory or disk (exit code 5)."""

    exit_code = 5
