"""A run with tampered files: verification detects it, and a coordinator refuses it or still reaches the right state."""

import shutil
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from raymu.config.unlearning import Strategy
from raymu.core.records import Generation
from raymu.core.verdict import Finding, Verdict
from raymu.errors import RaymuError
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from tests.support.faults import FaultyDisk, fail
from tests.system.model.observed_run import ObservedRun
from tests.system.model.process import Process
from tests.system.model.scenario import Scenario, SentRequest, Verified
from tests.system.model.steered_fleet import SteeredFleet
from tests.system.model.tampering import Files

CONTINUATIONS: Mapping[str, Callable[[Scenario, Coordinator], Coroutine[Any, Any, object]]] = {
    "settle": lambda _course, coordinator: coordinator.settle(no_progress),
    "rebuild": lambda scenario, coordinator: coordinator.rebuild(no_progress, data=str(scenario.template.data)),
    "revoke": lambda scenario, coordinator: coordinator.revoke([_another(scenario).revocation], no_progress),
}


def check_tampered(scenario: Scenario, files: Files, *, then: str) -> None:
    """Check a run with these files, and restore it afterwards."""
    sound, served = scenario.files_at_rest, scenario.run.generation
    _, findings = verified(scenario)
    try:
        write_files(scenario.location, files)
        verdict, new_findings = findings_of(scenario.location)
        assert verdict is not Verdict.PASS
        if scenario.run.is_idle and scenario.is_calm:  # no file is left that would be destroyed anyway
            assert new_findings != findings, "it is noticed, also where the run did not pass before"
        assert _served(scenario.location) in (None, served)
        _continue(scenario, Path(shutil.copytree(scenario.location, scenario.location.with_name("copy"))), then)
    finally:
        write_files(scenario.location, sound)
        shutil.rmtree(scenario.location.with_name("copy"), ignore_errors=True)


def verified(scenario: Scenario) -> Verified:
    """Return the result of verifying the run, computed again only if its files have changed."""
    if scenario.verified is None or scenario.verified[0] != scenario.run.files:
        scenario.verified = scenario.run.files, findings_of(scenario.location)
    return scenario.verified[1]


def findings_of(location: Path) -> Verified:
    try:
        verification = verify(RunStore(str(location)), no_progress)
    except RaymuError as error:  # no run at all
        return Verdict.FAIL, (Finding(verdict=Verdict.FAIL, what=str(error)),)
    return verification.verdict, tuple(finding for check in verification.checks for finding in check.findings)


def write_files(location: Path, files: Files) -> None:
    """Replace the files of a run, and remove SQLite's index of the earlier log."""
    for path in location.rglob("*"):
        if path.is_file() and str(path.relative_to(location)) not in files:
            path.unlink()
    for name, payload in files.items():
        path = location / name
        if not path.is_file() or path.read_bytes() != payload:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)


def _served(location: Path) -> Generation | None:
    """Return the generation that a reader serves. The reader checks everything that it loads."""
    store = RunStore(str(location))
    try:
        generation = store.current()
        for constituent in generation.constituents:
            if constituent.checkpoint:
                store.files.read_checked(constituent.checkpoint.file)
    except RaymuError:
        return None
    return generation


def _continue(scenario: Scenario, copy: Path, then: str) -> None:
    try:
        process = Process(copy, FaultyDisk(0, fail))
        try:
            task = process.start(CONTINUATIONS[then](scenario, process.coordinator))
            while not task.done():
                process.steer(SteeredFleet.finish)
            task.result()
        finally:
            process.close()
    except RaymuError:
        return
    run = ObservedRun(copy, scenario.template.samples)
    run.look()
    assert run.accepted.keys() >= scenario.accepted.keys()
    run.check_requests()
    run.check_lineages()


def _another(scenario: Scenario) -> SentRequest:
    """A request for a sample that nothing has revoked."""
    left = [sample for sample in scenario.template.samples if sample not in scenario.run.revoked]
    return SentRequest(samples=frozenset(left[:1]), strategy=Strategy.SISA, boundary="1", key=None)
