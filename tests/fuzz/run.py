"""Run targets for a number of executions each with atheris, which looks for inputs that reach new code.

    python tests/fuzz/run.py EXECUTIONS FOLDER [TARGET]...

Each target (all of them, unless some are named) runs in a process of its own. FOLDER takes what it finds worth keeping,
which the next run with that folder goes on from. An input that fails is printed in hexadecimal digits: it belongs into
FINDINGS of the target, where pytest will try it again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import atheris
from fuzz_targets import NAMES, load, module_name

# What is written in Python and reads the input, next to our own code. It can be watched from its import on only, and
# watching costs time.
WATCHED = {"dates": ("email",), "base-url": ("encodings.idna", "idna", "ipaddress", "urllib")}


def main(executions: str, folder: str, *names: str) -> None:
    if len(names) == 1:
        fuzz(names[0], executions, folder)
    for name in names or NAMES:
        sys.stderr.write(f"\n{name}\n")
        subprocess.run([sys.executable, __file__, executions, folder, name], check=True)


def fuzz(name: str, executions: str, folder: str) -> None:
    """Fuzz one target; atheris ends the process."""
    # The target, too: what its checks come upon tells inputs apart.
    with atheris.instrument_imports(include=["aichatfree_sdk", module_name(name), *WATCHED.get(name, ())]):
        module = load(name)
    corpus = Path(folder, name)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*module.SEEDS.values(), *module.FINDINGS.values()]):
        (corpus / f"seed-{number}").write_bytes(data[: module.MAX_LEN])
    dictionary = Path(folder, f"{name}.dict")
    tokens = ("".join(f"\\x{byte:02x}" for byte in token) for token in module.TOKENS)
    dictionary.write_text("".join(f'"{token}"\n' for token in tokens))

    def watched(data: bytes) -> None:
        try:
            module.target(data)
        except BaseException:
            sys.stderr.write(f"the failing input of {name}: {data.hex()}\n")
            raise

    options = [
        f"-runs={executions}",
        f"-max_len={module.MAX_LEN}",
        f"-dict={dictionary}",
        f"-artifact_prefix={folder}/",
    ]
    # An input that takes seconds is a finding, too.
    atheris.Setup([name, *options, "-timeout=10", str(corpus)], watched)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
