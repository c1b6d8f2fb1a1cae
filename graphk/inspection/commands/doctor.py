"""`graphk doctor`: what graphk runs on, and whether it works here."""
from __future__ import annotations

import argparse

HELP = "show versions, processor, cache and GPU, and test that graphk works here"
DESCRIPTION = "Look at what graphk runs on, and try it; exits with 1 if something is broken."


def arguments(p: argparse.ArgumentParser) -> None:
    """Nothing."""


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    from graphk.inspection.installation import doctor
    return doctor()
