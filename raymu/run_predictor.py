"""A run as it predicts: predictions and scores of the generation that it serves, and copies of that for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from raymu.console.notebook import counts_shown
from raymu.core.trust import Trust
from raymu.data.frames import TableData, is_frame, to_table
from raymu.run_reader import RunReader
from raymu.service.phase import no_count
from raymu.user_paths import local_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from raymu.core.arrays import Targets
    from raymu.data.rows import Rows
    from raymu.service.export import Export
    from raymu.service.export_document import ExportCheck
    from raymu.service.model_bom import ModelBom
    from raymu.service.model_signature import ModelSignature
    from raymu.service.prediction import Evaluation, Predictions
    from raymu.service.served_ensemble import ServedEnsemble
    from raymu.service.table_prediction import RowProgress, TablePrediction
    from raymu.training.ensemble_module import EnsembleModule


class RunPredictor(RunReader):
    """A run that predicts with the generation it serves, and exports it. Threads share the models that are loaded."""

    def __init__(
        self,
        run_dir: str | Path,
        *,
        address: str | None = None,
        trust: bool | Trust = False,
        take_over: bool = False,
    ) -> None:
        """Open a run to predict with it. The parameters and errors are those of `Run`."""
        super().__init__(run_dir, address=address, trust=trust, take_over=take_over)
        self._ensemble: ServedEnsemble | None = None
        self._loading = Lock()

    def predict(self, features: Rows | object) -> npt.NDArray[np.float32]:
        """Predict with the current generation.

        Args:
            features: (samples, *input shape), or a table in memory: a DataFrame, an Arrow table or anything that `train`
                takes. Labels in the table are not read.

        Returns:
            (samples, outputs) float32: probabilities of classes or labels, or numbers.
        """
        rows = self._rows(features)
        return self._served.answer(lambda ensemble: ensemble.predict(rows), self._require_nothing_lost)

    def predict_marked(self, features: Rows | object) -> Predictions:
        """Predict as `predict` does, with the number of the generation and a mark for each answer.

        An answer is certain if its class stays the same whatever becomes of shards that are rewound, abstain, are patched,
        or wait for a repair or for their group.
        """
        rows = self._rows(features)
        return self._served.answer(lambda ensemble: ensemble.predict_marked(rows), self._require_nothing_lost)

    def predict_if_loaded(self, features: Rows) -> Predictions | None:
        """Predict as `predict_marked` does, if nothing has to be read or waited for; None otherwise.

        The check that the run still serves the generation takes microseconds, before and after.
        """
        return self._served.answer_if_loaded(lambda ensemble: ensemble.predict_marked(features))

    def samples_of(self, table: object) -> Rows:
        """Return the samples of a table in memory, as `predict` takes them. Raises DataInvalid."""
        return self._rows(table)

    def evaluate(self, features: Rows | object, labels: Targets | None = None) -> Evaluation:
        """Measure the score of the current generation: the accuracy, or R2 of numbers.

        Args:
            features: (samples, *input shape), or a table in memory, as for `predict`.
            labels: (samples,) int64, or (samples, outputs) float32. The default takes those of the table.
        """
        if labels is None:
            return self._evaluate_table(to_table(features))
        rows, targets = self._rows(features), labels
        return self._served.answer(
            lambda ensemble: ensemble.evaluate(rows, targets, has_metrics=True), self._require_nothing_lost
        )

    def predict_file(
        self,
        data: str | Path,
        out: str | Path,
        *,
        labels_only: bool = False,
        progress: RowProgress | None = None,
    ) -> TablePrediction:
        """Predict a table of any length into a file, which appears under its name when it is whole.

        All predictions are of one generation, which the run serves until then: if a request revokes from it meanwhile, the
        table is predicted again. They are computed in this process or on Ray, as `cluster.fleet` says, with the same bits.

        Args:
            data: A path, a URI or a pattern of Parquet, Arrow or Feather files. Labels in them are not read.
            out: The Parquet or CSV file to write.
            labels_only: Leave out the probabilities, which reveal more about single training samples.
            progress: Called with the rows that are done, and with those of all; 0 if the files do not say how many they are.

        Raises:
            DataInvalid: The table cannot be read, or a row does not fit. Nothing is written then.
            RequestInvalid: The file cannot be written, or generations came faster than the answer.
        """
        from raymu.data.predictions import require_format
        from raymu.output_file import check_output_path
        from raymu.service.table_prediction import predict_table, rows_to_predict

        source, place = str(data), Path(out).expanduser()
        require_format(str(place))
        check_output_path(place, reads={"the table to predict": source}, run=self.location)
        rows = rows_to_predict(self._store, source)
        with counts_shown("row", progress or no_count) as (count, _):
            return predict_table(
                self._store,
                self._served,
                rows,
                str(place),
                partial(self._backend.predict, rows),
                labels_only=labels_only,
                check=self._require_nothing_lost,
                progress=count,
            )

    def evaluate_file(self, path: str, *, progress: RowProgress | None = None) -> Evaluation:
        """Measure the accuracy of the current generation on a table with labels, of any length.

        Metrics such as ROC AUC need the predictions of all samples: 4 bytes a sample and class are kept for them.

        Args:
            path: A path, a URI or a pattern of Parquet, Arrow or Feather files.
            progress: As for `predict_file`.

        Raises:
            DataInvalid: The table cannot be read, has no labels, or a row does not fit.
        """
        return self._evaluate_table(path, progress)

    def _evaluate_table(self, data: TableData, progress: RowProgress | None = None) -> Evaluation:
        from raymu.data.row_stream import open_rows
        from raymu.service.table_prediction import evaluate_table

        manifest = self._store.manifest
        rows = open_rows(
            data,
            self.config.data,
            manifest.form,
            input_shape=manifest.input_shape,
            classes=manifest.class_table,
        )
        with counts_shown("row", progress or no_count) as (count, _):
            return evaluate_table(self._served, rows, check=self._require_nothing_lost, progress=count)

    def _rows(self, features: Rows | object) -> Rows:
        """Return samples to predict: rows as they are, and those of a table in memory."""
        from raymu.data.row_stream import open_rows
        from raymu.data.rows import Columns

        if isinstance(features, Columns) or not is_frame(features):
            rows: Any = features
            return rows
        manifest, table = self._store.manifest, to_table(features)
        stream = open_rows(table, self.config.data, manifest.form, input_shape=manifest.input_shape)
        unit = max(1, table.num_rows)
        [part] = stream.parts(unit, most=unit)
        return part.features

    def module(self) -> EnsembleModule:
        """Return the current generation as a `torch.nn.Module`, in evaluation mode and on the CPU.

        It is a copy: a later revocation supersedes it, and the purge of the run does not reach it.
        """
        from raymu.service.export import served_module

        self.require_not_rolled_back()
        return served_module(self._store)

    def export(self, out: str | Path, *, formats: Sequence[str] = ("pt2",)) -> Export:
        """Write the current generation into a folder, for programs without raymu, with a document of what it is.

        It is a copy: a later revocation supersedes it, and the purge of the run does not reach it.

        Args:
            out: A new local folder, or one with an earlier export of this run, which is replaced.
            formats: Any of pt2 (a program of torch.export), onnx and safetensors.

        Raises:
            RequestInvalid: A format is unknown, the folder cannot be written, the model cannot be traced, or accepted
                requests wait for a state that saw their samples.
            ConfigInvalid: A format needs a package that is not installed.
        """
        from raymu.service.export import export_run
        from raymu.training.export_formats import formats_of

        self._require_nothing_lost()
        return export_run(self._store, local_path(out), formats_of(formats))

    def check_export(self, out: str | Path) -> ExportCheck:
        """Compare an export with what the run serves now. Raises RequestInvalid if it is none of this run, or was changed."""
        from raymu.service.export_document import check_export

        self.require_not_rolled_back()
        return check_export(self._store, local_path(out))

    def sign(self, out: str | Path) -> ModelSignature:
        """Sign the files of the generation that is served, for people who check them with OpenSSF's model_signing.

        Args:
            out: The file to write, which ends in `.sig`. The public key is written beside it, with the ending `.pem`.

        Raises:
            RequestInvalid: The file cannot be written, or accepted requests wait for a state that saw their samples.
        """
        from raymu.service.model_signature import sign_generation

        self._require_nothing_lost()
        return sign_generation(self._store, local_path(out))

    def bom(self, out: str | Path) -> ModelBom:
        """Write the bill of materials of the generation that is served, as CycloneDX 1.6 (ML-BOM). It names no sample.

        Args:
            out: The file to write, which ends in `.json`.

        Raises:
            RequestInvalid: The file cannot be written, or accepted requests wait for a state that saw their samples.
        """
        from raymu.service.model_bom import write_model_bom

        self._require_nothing_lost()
        return write_model_bom(self._store, local_path(out))

    def close(self) -> None:
        """Close the connection to the journal that predictions follow. The next prediction opens it again."""
        if (served := self._ensemble) is not None:
            served.close()

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._loading = Lock()
        if self._ensemble is not None:
            self._ensemble.forget_parent()

    @property
    def _served(self) -> ServedEnsemble:
        """The ensemble of the current generation, which all threads predict with."""
        from raymu.service.served_ensemble import ServedEnsemble

        with self._loading:
            if self._ensemble is None:
                self._ensemble = ServedEnsemble(self._store)
            return self._ensemble
