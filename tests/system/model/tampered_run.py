"""A run that somebody tampered with: it is found, and whoever goes on with it refuses, or comes to what is right."""

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
from tests.system.model.scenario import Asked, Course, Verified
from tests.system.model.steered_fleet import SteeredFleet
from tests.system.model.tampering import Files

GOINGS_ON: Mapping[str, Callable[[Course, Coordinator], Coroutine[Any, Any, object]]] = {
    "settle": lambda _course, coordinator: coordinator.settle(no_progress),
    "rebuild": lambda course, coordinator: coordinator.rebuild(no_progress, data=str(course.template.data)),
    "revoke": lambda course, coordinator: coordinator.revoke([_another(course).revocation], no_progress),
}


def check_tampered(course: Course, files: Files, *, then: str) -> None:
    """files: as they are from now on. The run is put back afterwards."""
    sound, served = course.files_at_rest, course.run.generation
    _, findings = verified(course)
    try:
        write_files(course.location, files)
        verdict, found = findings_of(course.location)
        assert verdict is not Verdict.PASS
        if course.run.is_idle and course.is_calm:  # nothing lies there that is to be destroyed anyway
            assert found != findings, "it is noticed, also where the run did not pass before"
        assert _served(course.location) in (None, served)
        _go_on(course, Path(shutil.copytree(course.location, course.location.with_name("copy"))), then)
    finally:
        write_files(course.location, sound)
        shutil.rmtree(course.location.with_name("copy"), ignore_errors=True)


def verified(course: Course) -> Verified:
    """What a verification says of the run as it is, once for as long as it stays so."""
    if course.verified is None or course.verified[0] != course.run.files:
        course.verified = course.run.files, findings_of(course.location)
    return course.verified[1]


def findings_of(location: Path) -> Verified:
    try:
        found = verify(RunStore(str(location)), no_progress)
    except RaymuError as error:  # no run at all
        return Verdict.FAIL, (Finding(verdict=Verdict.FAIL, what=str(error)),)
    return found.verdict, tuple(finding for check in found.checks for finding in check.findings)


def write_files(location: Path, files: Files) -> None:
    """Make these the files of a run; what SQLite keeps of a log that was goes with it."""
    for path in location.rglob("*"):
        if path.is_file() and str(path.relative_to(location)) not in files:
            path.unlink()
    for name, payload in files.items():
        path = location / name
        if not path.is_file() or path.read_bytes() != payload:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)


def _served(location: Path) -> Generation | None:
    """What a reader predicts from: everything that it loads is checked."""
    store = RunStore(str(location))
    try:
        generation = store.current()
        for constituent in generation.constituents:
            if constituent.checkpoint:
                store.files.read_checked(constituent.checkpoint.file)
    except RaymuError:
        return None
    return generation


def _go_on(course: Course, copy: Path, then: str) -> None:
    try:
        process = Process(copy, FaultyDisk(0, fail))
        try:
            task = process.start(GOINGS_ON[then](course, process.coordinator))
            while not task.done():
                process.steer(SteeredFleet.finish)
            task.result()
        finally:
            process.close()
    except RaymuError:
        return
    run = ObservedRun(copy, course.template.subjects)
    run.look()
    assert run.accepted.keys() >= course.accepted.keys()
    run.check_requests()
    run.check_lineages()


def _another(course: Course) -> Asked:
    """A request for a sample that nothing has revoked."""
    left = [subject for subject in course.template.subjects if subject not in course.run.revoked]
    return Asked(samples=frozenset(left[:1]), strategy=Strategy.SISA, boundary="1", key=None)
