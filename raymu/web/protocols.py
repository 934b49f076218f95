"""The protocols of a service, put together from their settings: webhooks, and OpenDSR."""

from collections.abc import Callable, Mapping
from pathlib import Path

from raymu.store.run import RunStore
from raymu.web.deliveries import Deliveries
from raymu.web.journal_notices import JournalNotices
from raymu.web.opendsr import OpenDsr
from raymu.web.outbox import Outbox
from raymu.web.protocol_settings import located, read_protocol_settings, read_secrets
from raymu.web.sender import Count, Receiver
from raymu.web.served_run import ServedRun
from raymu.web.webhooks import Webhook


class Protocols:
    """What the service sends to others."""

    def __init__(self, path: Path, served_runs: Mapping[str, ServedRun], *, count_for: Callable[[str], Count]) -> None:
        """Read the settings, and note how far the journals are.

        Args:
            path: The file of settings.
            served_runs: Name -> run.
            count_for: Returns what counts the attempts to send to a receiver, by its target.

        Raises:
            ConfigInvalid: A setting is wrong, or a file that it names cannot be read.
            RaymuError: What opening a run or the outbox raises.
        """
        settings, state = read_protocol_settings(path)
        webhooks = [
            Webhook(config=config, secrets=read_secrets(located(config.secret_file, path)))
            for config in settings.webhooks
        ]
        self.outbox = Outbox(state)
        """What is still to be sent."""
        self._journals = [
            JournalNotices(RunStore(served.run.location, trust=served.run.trust), name, self.outbox, webhooks)
            for name, served in served_runs.items()
            if webhooks
        ]
        self.opendsr = None if settings.opendsr is None else OpenDsr(settings.opendsr, path, served_runs, self.outbox)
        """What answers requests of OpenDSR; None if it is not spoken."""
        sources: list[Callable[[], None]] = [journal.look_patiently for journal in self._journals]
        receivers: list[Receiver] = [*webhooks]
        if self.opendsr is not None:
            sources.append(self.opendsr.look)
            receivers.append(self.opendsr)
        self._deliveries = Deliveries(self.outbox, sources, receivers, count_for=count_for)

    def begin(self) -> None:
        """Begin to send."""
        self._deliveries.begin()

    def close(self) -> None:
        """End what is being sent. The rest is sent after the next start."""
        self._deliveries.close()
        for journal in self._journals:
            journal.close()
        if self.opendsr is not None:
            self.opendsr.close()
