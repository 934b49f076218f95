"""The direction that takes samples out: their gradient, times the inverse curvature of the samples that are retained.

Removing samples moves the minimum of the mean loss by about (their share) x (damped Gauss-Newton matrix)^-1 x (their mean
gradient): the influence function (Koh and Liang, ICML 2017, equation 1), with the Gauss-Newton matrix for the Hessian. A
plain gradient moves the weights where they are easy to move; this moves them back from where the samples had moved them.
"""

import numpy as np
import torch
from torch import Tensor

from raymu.config import CurvatureConfig
from raymu.config.unlearning import Preconditioner
from raymu.core.partition import derive_seed, epoch_order
from raymu.core.remedies import FACTOR_PASSES, PRODUCT_PASSES
from raymu.errors import PatchFailed
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.curvature.conjugate_gradients import conjugate_gradients
from raymu.training.curvature.gauss_newton import GaussNewton
from raymu.training.curvature.kfac import Kfac
from raymu.training.encoder import PreparedSamples


class CurvatureDirection:
    """The inverse curvature of a fixed sample of the retained samples, for the steps of one patch.

    Kronecker factors are computed at the first step and kept for the later ones, which move the weights little. They are
    never written to a file: they would hold what is forgotten.
    """

    def __init__(self, classifier: Classifier, retain: ShardSamples, settings: CurvatureConfig, *, seed: int) -> None:
        """Draw the curvature sample.

        Args:
            classifier: Its weights may change between two steps.
            retain: The retained samples of the shard.
            settings: How the curvature is estimated.
            seed: Seed of the sample, and of the labels that Kronecker factors are estimated with.
        """
        drawn = np.sort(epoch_order(retain.hashes, seed=derive_seed(seed, "samples"))[: settings.samples])
        self._classifier, self._settings, self._seed = classifier, settings, seed
        self._features, self._labels = retain.features[drawn], retain.labels[drawn]
        self._samples: PreparedSamples | None = None
        self._kfac: Kfac | None = None

    def of(self, gradient: Tensor) -> tuple[Tensor, float]:
        """Multiply a gradient by the inverse curvature at the present weights.

        Args:
            gradient: (parameters,). It is 0 for parameters that are not trained, and so is the direction.

        Returns:
            The direction, (parameters,), and the sample passes that it took.

        Raises:
            PatchFailed: The model cannot be differentiated twice, or the direction is not finite.
        """
        if not len(self._features):
            raise PatchFailed("no sample is retained to estimate the curvature from")
        try:
            direction, passes = self._solve(gradient)
        except PatchFailed:
            raise
        except Exception as error:  # the model's own code runs, and its layers may lack second derivatives
            # The text of the error may name samples, and a reason is kept in receipts.
            problem = f"the curvature cannot be computed ({type(error).__name__})"
            raise PatchFailed(f"{problem}; unlearning.contributions gradient needs none") from error
        if not bool(torch.isfinite(direction).all()):
            raise PatchFailed("the direction is not finite; use a larger unlearning.curvature.damping")
        return direction, passes

    def _solve(self, gradient: Tensor) -> tuple[Tensor, float]:
        classifier, settings, passes = self._classifier, self._settings, 0.0
        if self._samples is None:
            self._samples = classifier.prepare(self._features)
        if settings.preconditioner is Preconditioner.KFAC and self._kfac is None:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "labels"))
            self._kfac = Kfac(classifier, self._samples, damping=settings.damping, generator=generator)
            passes += FACTOR_PASSES * len(self._samples)
        precondition = self._kfac.solve if self._kfac else torch.clone
        is_trained = torch.cat(
            [
                torch.full((parameter.numel(),), parameter.requires_grad, device=gradient.device)
                for parameter in classifier.model.parameters()
            ]
        )
        right = gradient[is_trained]
        if settings.iterations:
            matrix = GaussNewton(classifier, self._samples, classifier.targets(self._labels))
            products = 0

            def product(vector: Tensor) -> Tensor:
                nonlocal products
                products += 1
                return matrix.product(vector).add_(vector, alpha=settings.damping)

            solution = conjugate_gradients(product, right, precondition=precondition, iterations=settings.iterations)
            passes += products * PRODUCT_PASSES * len(self._samples)
        else:
            solution = precondition(right)
        direction = torch.zeros_like(gradient)
        direction[is_trained] = solution
        return direction, passes
