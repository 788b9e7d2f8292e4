"""Schedules of the product's own code in a world that a seed decides about; many more by `make simulate`."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
# A world replaces the clock of its process, so it has one of its own.
FOUND = """
from simulation.campaign import hunted, shortest
from simulation.mutants import MUTANTS
names = ["a create overwrites", "a round is applied twice", "a suggestion is taken up twice"]
for number, mutant in enumerate(MUTANTS):
    if mutant.name in names:
        outcome = hunted((number, 1000))[1]
        short = shortest(outcome, mutant)
        print(mutant.name, bool(short.broken), len(short.disturbances) <= len(outcome.disturbances))
"""
WHOLE = """
from simulation.mutants import MUTANTS
for mutant in MUTANTS:
    with mutant.planted():
        pass
print(len(MUTANTS))
"""
TWICE = """
from simulation.schedules import play
print(all(play(seed, log=True) == play(seed, log=True) for seed in range(20)))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_every_promise_is_kept() -> None:
    done = run("-m", "simulation", "--schedules", "300", "--processes", "1")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "300 schedules" in done.stdout
    assert " 0 violations" in done.stdout


def test_a_schedule_replays_to_the_last_request() -> None:
    assert run("-c", TWICE).stdout.strip() == "True"


def test_planted_faults_are_found_and_their_schedules_made_short() -> None:
    done = run("-c", FOUND)
    assert done.stdout.count("True True") == 3, done.stdout + done.stderr


def test_every_planted_fault_still_fits_the_code() -> None:
    done = run("-c", WHOLE)
    assert int(done.stdout or 0) >= 24, done.stderr
