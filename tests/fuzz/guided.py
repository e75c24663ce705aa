"""One target under atheris, in a process of its own, for libFuzzer ends it.

`python -m tests.fuzz.guided TARGET OPTION... FOLDER...`, as `tests.fuzz.run` calls it.
Options are libFuzzer's. New inputs that reach new code go into the first folder.
"""

import sys

import atheris

# How texts are compared guides it too. (Its hook for regular expressions knows no patterns of bytes.)
atheris.enabled_hooks.add("str")
with atheris.instrument_imports(include=["yatagarasu"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run until an option or a failure ends it."""
    program, name, *options = sys.argv
    atheris.Setup([program, *options], TARGETS[name].run)
    atheris.Fuzz()


main()
