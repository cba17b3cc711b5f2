"""The head: a standardised linear layer with a softmax, from features to one probability per class.

Shapes: N frames, D features, C classes in the order of the spec.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

Floats = NDArray[np.floating]
Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Head:
    """Standardise by `mean` and `scale` (D,), then one linear unit per class: `weight` (C, D) and `bias` (C,).

    A class that it never saw has bias -inf, hence probability 0.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def scores(self, features_ND: Floats) -> NDArray[np.float64]:
        """Probabilities (N, C); each row sums to 1."""
        probabilities_NC: NDArray[np.float64] = softmax(self._logits(features_ND), axis=1)
        return probabilities_NC

    def loss(self, features_ND: Floats, labels_N: Labels, weights_N: Floats | None = None) -> float:
        """Mean cross-entropy in nats, weighted by frame."""
        log_scores_NC = log_softmax(self._logits(features_ND), axis=1)
        losses_N = -log_scores_NC[np.arange(len(labels_N)), labels_N]
        return float(np.average(losses_N, weights=weights_N))

    def to_bytes(self) -> bytes:
        """The form in which a head is stored: safetensors."""
        return safetensors.numpy.save({name: np.ascontiguousarray(one) for name, one in vars(self).items()})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        """The head that `arrays` describe. Raises ValueError when they describe none."""
        if set(arrays) != set(cls.__dataclass_fields__):
            raise ValueError(
                f"a head has the tensors {sorted(cls.__dataclass_fields__)}, got {sorted(arrays)}"
            )
        return cls(**arrays)

    def _logits(self, features_ND: Floats) -> NDArray[np.float64]:
        standard_ND = (features_ND.astype(np.float64) - self.mean) / self.scale
        # Row by row: the bits of a matrix product's row depend on how many rows there are.
        logits = [self.weight @ standard_D + self.bias for standard_D in standard_ND]
        return np.array(logits, dtype=np.float64).reshape(len(standard_ND), len(self.bias))
