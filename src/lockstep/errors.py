"""What a user can get wrong, as exceptions whose message is the rule, the value seen and the remedy.

A message is one or two sentences that can be read without the traceback; the command line prints it alone.
"""


class LockstepError(Exception):
    """Anything a user can cause and cure; the message says how."""


class SpecError(LockstepError, ValueError):
    """A setting is unknown, out of range, or contradicts another."""


class DataError(LockstepError, ValueError):
    """The data cannot be read, understood or trained on."""


class TrainingError(LockstepError, RuntimeError):
    """Training cannot start or cannot go on."""


class RunError(LockstepError, RuntimeError):
    """A run folder is missing, incomplete, damaged or in the way."""
