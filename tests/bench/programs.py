"""Runs programs."""

import subprocess


def run(command, **options):
    """Run a program to its end; what it printed."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run([str(word) for word in command], text=True, timeout=900, **options)
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise RuntimeError(f"{words}: status {done.returncode}\n{done.stderr or ''}")
    return done.stdout
