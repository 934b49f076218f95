"""The kinds of findings of a verification, and what mends each."""

from collections.abc import Mapping
from enum import StrEnum

_BACKUP = "no command mends this; restore the whole run from a backup, or train anew"


class FindingKind(StrEnum):
    """The kind of a finding: a fault, or something that is still open."""

    MANIFEST = "manifest"
    """The manifest or a key is missing, or not what was written."""
    JOURNAL = "journal"
    """The journal has other content than its coordinators wrote."""
    SNAPSHOT = "snapshot"
    """The saved state of the journal is not what was written, or does not follow from its events."""
    OLD_FILES = "old files"
    """The journal is newer than the files beside it."""
    TAKEOVER = "takeover"
    """A coordinator was interrupted while it took the run over."""
    OPEN_JOURNAL = "open journal"
    """The journal was not closed since it was written."""
    RECEIPTS = "receipts"
    """The receipts, or their key, are not those that were issued."""
    UNTRAINED = "untrained"
    GENERATION = "generation"
    """The file of the served generation is missing, or not what was written."""
    OTHER_GENERATION = "other generation"
    """The file of another generation is there, or damaged."""
    FORGED_GENERATION = "forged generation"
    """The served generation does not follow from the journal, although its seal is valid."""
    FILE = "file"
    """A needed file is missing, or not what was written."""
    UNTRAINED_FILE = "untrained file"
    """The same, in a run that is not trained yet."""
    BASE_WEIGHTS = "base weights"
    """The weights that all shards begin with are missing, or not what was written."""
    REPORT = "report"
    """The report of a worker is not what was written."""
    LINEAGE = "lineage"
    """A table or a state is of other samples than is recorded."""
    KEPT_STATE = "kept state"
    """A state existed before the revocation of samples that it never saw, by the journal."""
    WAITING = "waiting"
    """A served state saw samples of requests that are not repaired yet."""
    PATCHED = "patched"
    OTHER_CLASSES = "other classes"
    """A state is of more than one determinism class."""
    INEXACT = "inexact"
    """The training cannot be repeated: the model keeps state of its own, or the factories' code changed."""
    UNFINISHED = "unfinished"
    """Work is running, or was interrupted."""
    VERSIONS = "versions"
    """The bucket keeps deleted files."""
    LINK = "link"
    """A link, or something else that is no file."""
    FOREIGN_FILE = "foreign file"
    """A file that raymu never writes."""
    PURGED_FILE = "purged file"
    """A file that was purged is there again, under a name that raymu writes."""
    FOREIGN_PURGED_FILE = "foreign purged file"
    """A file that was purged is there again, under another name."""
    NEEDED_PURGED_FILE = "needed purged file"
    """A file is needed, although it was purged."""
    NEEDLESS = "needless"
    """A file that raymu wrote, and that nothing needs."""
    REPLAY = "replay"
    """A state has other bits than training without the revoked samples gives."""
    PATCHED_REPLAY = "patched replay"
    """A stage has no checkpoint to compare, because its shard was patched."""
    OTHER_CLASS_HERE = "other class here"
    """The state was trained in another determinism class than that of this machine."""
    ROLLED_BACK = "rolled back"
    """The journal lacks an event that was seen before."""
    OLDER_COPY = "older copy"
    """Another place had an event of the run that this copy lacks."""
    WRITTEN_MEANWHILE = "written meanwhile"
    UNREAD = "unread"
    """Something could not be read or understood. The message of the error says what to do."""


WAYS_OUT: Mapping[FindingKind, str] = {
    FindingKind.MANIFEST: _BACKUP,
    FindingKind.JOURNAL: _BACKUP,
    FindingKind.SNAPSHOT: "`raymu settle` reads all events instead, and writes another one",
    FindingKind.OLD_FILES: "`raymu settle` repeats what the files lack",
    FindingKind.TAKEOVER: "a takeover is running or was interrupted; `raymu settle` completes it",
    FindingKind.OPEN_JOURNAL: "a coordinator has it open (`raymu stop` stops it), or was interrupted (run `raymu settle`)",
    FindingKind.RECEIPTS: _BACKUP,
    FindingKind.UNTRAINED: "`raymu settle` finishes its training",
    FindingKind.GENERATION: "`raymu rebuild` writes it again",
    FindingKind.OTHER_GENERATION: "`raymu settle` destroys it",
    FindingKind.FORGED_GENERATION: _BACKUP,
    FindingKind.FILE: "`raymu rebuild` restores it; lost samples need --training-data too",
    FindingKind.UNTRAINED_FILE: "the run is not trained yet: train anew, into another directory",
    FindingKind.BASE_WEIGHTS: "put the file back from a backup or from a copy of the run; its name has its hash",
    FindingKind.REPORT: "`raymu settle` repeats that work",
    FindingKind.LINEAGE: _BACKUP,
    FindingKind.KEPT_STATE: _BACKUP,
    FindingKind.WAITING: "`raymu settle` repairs it",
    FindingKind.PATCHED: "`raymu settle` makes it exact",
    FindingKind.OTHER_CLASSES: "`raymu settle` trains it again in one class",
    FindingKind.INEXACT: "restore what changed, and `raymu settle` trains it again; a run that was trained with --inexact "
    "has to be trained anew",
    FindingKind.UNFINISHED: "work is running or was interrupted; `raymu settle` finishes it",
    FindingKind.VERSIONS: "suspend that, and delete the earlier versions of destroyed files",
    FindingKind.LINK: "remove it, or put a file in its place",
    FindingKind.FOREIGN_FILE: "remove it",
    FindingKind.PURGED_FILE: "`raymu settle` destroys it",
    FindingKind.FOREIGN_PURGED_FILE: "remove it",
    FindingKind.NEEDED_PURGED_FILE: _BACKUP,
    FindingKind.NEEDLESS: "`raymu settle` destroys it",
    FindingKind.REPLAY: _BACKUP,
    FindingKind.PATCHED_REPLAY: "`raymu settle` retrains it",
    FindingKind.OTHER_CLASS_HERE: "replay it where it was trained",
    FindingKind.ROLLED_BACK: "put the newer copy back; if the older one is there on purpose, "
    "`raymu verify --accept-rollback` accepts it",
    FindingKind.OLDER_COPY: "use the newer one; if this one is meant, `raymu verify --accept-rollback` accepts it",
    FindingKind.WRITTEN_MEANWHILE: "verify it again while no repair is running",
    FindingKind.UNREAD: "",
}
"""What to do about each kind of finding: the command that mends it, or what a person has to do."""
