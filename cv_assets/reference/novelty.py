"""Novelty: how far a frame lies from what a candidate trained on, in the features of a frozen backbone.

Whitened principal components of the training frames' features, and in them the mean distance to the nearest training
frames. Everything that it takes is stored with the candidate, so a delivery is measured the same way whatever the
spec says by then. Shapes: N training frames, M other frames, D features, P components.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cv_assets.spec.drift import Novelty
from cv_assets.training.arrays import read_arrays
from cv_assets.training.cache import check_sha256
from cv_assets.training.features import Extractor, Pool
from cv_assets.training.inference import stored_graph

Floats = NDArray[np.floating]
Vector = NDArray[np.float64]
Fetch = Callable[[str], Path]

_ARRAYS: Final = ("mean", "projection", "frames")
_ABOUT: Final = "novelty_reference"

_DISTANCES: Final = 4_000_000
"""So many distances are held in memory at a time."""

_FLAT: Final = 1e-10
"""A component with less than this share of the largest variance is rounding."""

_FLOAT32: Final = np.finfo(np.float32)


@dataclass(frozen=True)
class FeatureSettings:
    """Which features the novelty is taken in: a stored backbone, the stages that are read and how they are pooled."""

    model: str
    architecture: str
    input_size: int
    backbone: str
    """Where the backbone is in the lake."""
    backbone_sha256: str
    """Of its stored bytes."""
    blocks: tuple[int, ...]
    pool: tuple[Pool, ...]

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], novelty: Novelty) -> Self:
        """The features of `novelty` by the backbone of a row of a checkpoint table."""
        return cls(
            model=checkpoint["model"],
            architecture=checkpoint["architecture"],
            input_size=int(json.loads(checkpoint["recipe"])["input_size"]),
            backbone=checkpoint["backbone"],
            backbone_sha256=Path(checkpoint["backbone"]).stem,
            blocks=novelty.blocks,
            pool=novelty.pool,
        )


@dataclass(frozen=True)
class NoveltyReference:
    """A projection and the training frames in it.

    A feature vector (D,) less `mean` (D,) times `projection` (P, D) has unit variance in each component over the
    training frames, which are `frames` (N, P).
    """

    features: FeatureSettings
    neighbours: int
    mean: Vector
    projection: Vector
    frames: Vector

    @classmethod
    def fit(cls, features_ND: Floats, settings: Novelty, features: FeatureSettings) -> Self:
        """The reference that these training frames make; as many components as they span, at most those of `settings`.

        Frames with a feature that is not finite are left out.
        """
        mean, projection, frames = _fitted(_finite(features_ND), settings.dimensions)
        return cls(features, settings.neighbours, mean, projection, frames)

    def novelty(self, features_MD: Floats) -> Vector:
        """The novelty (M,) of frames that did not train: 0 and more, in standard deviations of the training frames.

        The mean distance to the nearest training frames, fewer where there are fewer. NaN for a frame with a feature
        that is not finite, and for all when there is no training frame. Raises ValueError for other features.
        """
        if features_MD.ndim != 2 or (len(features_MD) and features_MD.shape[1] != len(self.mean)):
            raise ValueError(
                f"the novelty reference knows {len(self.mean)} features per frame, got {features_MD.shape}"
            )
        return _distances(features_MD, self.mean, self.projection, self.frames, self.neighbours)

    def to_bytes(self) -> bytes:
        """The form in which it is stored: safetensors, with the feature settings in the metadata."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        about = {"features": asdict(self.features), "neighbours": self.neighbours}
        # One key: several are written in no fixed order, and the same reference must give the same bytes.
        return safetensors.numpy.save(arrays, metadata={_ABOUT: json.dumps(about, sort_keys=True)})

    @classmethod
    def read(cls, path: Path) -> Self:
        """The reference that `to_bytes` made the file of. Raises ValueError for any other file."""
        arrays = read_arrays(path)
        with safetensors.safe_open(path, framework="numpy") as stored:
            about = stored.metadata() or {}
        if set(arrays) != set(_ARRAYS) or _ABOUT not in about:
            raise ValueError(
                f"{path.name} is no novelty reference: one has the tensors {sorted(_ARRAYS)} and the metadata "
                f"{_ABOUT!r}, this file {sorted(arrays)} and {sorted(about)}"
            )
        said = json.loads(about[_ABOUT])
        lists = {name: tuple(said["features"][name]) for name in ("blocks", "pool")}
        return cls(FeatureSettings(**{**said["features"], **lists}), said["neighbours"], **arrays)


def cross_fitted(
    features_ND: Floats, deliveries_N: Sequence[str] | NDArray[Any], settings: Novelty
) -> Vector:
    """The novelty (N,) of the training frames themselves, as if each one's delivery had not been there.

    Projection and neighbours come from the other deliveries alone: a frame lies at distance 0 from itself, and nearer
    to its own delivery than a new one does. NaN for a frame with a feature that is not finite, and beside no other
    delivery.
    """
    names_N = np.asarray(deliveries_N, dtype=np.str_)
    novelty_N = np.full(len(features_ND), np.nan)
    for name in np.unique(names_N):
        own_N = names_N == name
        fitted = _fitted(_finite(features_ND[~own_N]), settings.dimensions)
        novelty_N[own_N] = _distances(features_ND[own_N], *fitted, settings.neighbours)
    return novelty_N


def extractor(features: FeatureSettings, fetch: Fetch, cache_dir: Path) -> Extractor:
    """What turns frames into these features, with the backbone that is stored.

    `fetch` gives a local file for a path in the lake, and is asked only when no graph of the backbone is cached: its
    file is read when the first frame is. That raises ValueError when its bytes are others than were stored.
    """
    graph = partial(_graph, features, fetch)
    return Extractor(
        features.architecture,
        features.input_size,
        features.backbone_sha256,
        features.blocks,
        features.pool,
        cache_dir,
        graph,
    )


def drawn(frame_ids: Sequence[str], count: int) -> list[str]:
    """At most `count` of the frames, drawn by content: a frame that is drawn stays so when others go."""
    return sorted(frame_ids, key=lambda one: (hashlib.sha256(one.encode()).digest(), one))[:count]


def _fitted(features_ND: Vector, dimensions: int) -> tuple[Vector, Vector, Vector]:
    """Mean (D,), whitening projection (P, D) and the frames in it (N, P)."""
    count, width = features_ND.shape
    mean = features_ND.mean(axis=0) if count else np.zeros(width)
    variance_P, directions_PD = _principal(features_ND - mean, dimensions)
    # What is less than the features' own resolution is no spread.
    resolution = float(_FLOAT32.eps) * np.abs(features_ND).max(initial=0.0)
    seen_P = variance_P > max(_FLAT * variance_P.max(initial=0.0), resolution**2)
    projection = directions_PD[seen_P] / np.sqrt(variance_P[seen_P])[:, None]
    return mean, projection, _projected(features_ND, mean, projection)


def _principal(centred_ND: Vector, dimensions: int) -> tuple[Vector, Vector]:
    """Variances (P,) and unit directions (P, D) of the components with the largest variances."""
    count, width = centred_ND.shape
    if count < 2 or not width:
        return np.zeros(0), np.zeros((0, width))
    by_feature = width <= count
    # Frames and features have the same components: the smaller of the two matrices gives them.
    # On one thread: the bits do not depend on the machine, and a matrix this small is no faster on several.
    with threadpool_limits(1):
        products = (centred_ND.T @ centred_ND if by_feature else centred_ND @ centred_ND.T) / (count - 1)
        size = len(products)
        variance_P, vectors = eigh(products, subset_by_index=[max(size - dimensions, 0), size - 1])
    if by_feature:
        return variance_P, vectors.T
    directions_PD = vectors.T @ centred_ND
    lengths_P = np.linalg.norm(directions_PD, axis=1)
    return variance_P, directions_PD / np.where(lengths_P > 0, lengths_P, 1)[:, None]


def _projected(features_ND: Floats, mean: Vector, projection: Vector) -> Vector:
    # Row by row: the bits of a matrix product's row depend on how many rows there are.
    rows = [projection @ (row.astype(np.float64) - mean) for row in features_ND]
    return np.array(rows, dtype=np.float64).reshape(len(features_ND), len(projection))


def _distances(
    features_MD: Floats, mean: Vector, projection: Vector, frames_NP: Vector, neighbours: int
) -> Vector:
    novelty_M = np.full(len(features_MD), np.nan)
    if not len(frames_NP):
        return novelty_M
    for known_m in _chunks(np.flatnonzero(_is_finite(features_MD)), _DISTANCES // len(frames_NP) + 1):
        projected_mP = _projected(features_MD[known_m], mean, projection)
        novelty_M[known_m] = _mean_of_nearest(projected_mP, frames_NP, neighbours)
    return novelty_M


def _mean_of_nearest(projected_mP: Vector, frames_NP: Vector, neighbours: int) -> Vector:
    if not frames_NP.shape[1]:
        return np.zeros(len(projected_mP))
    count = min(neighbours, len(frames_NP))
    nearest = np.partition(cdist(projected_mP, frames_NP), count - 1, axis=1)[:, :count]
    # Sorted, a sum does not depend on how the partition left them.
    return np.sort(nearest, axis=1).mean(axis=1)  # type: ignore[no-any-return]


def _chunks(indices: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _finite(features_ND: Floats) -> Vector:
    return features_ND[_is_finite(features_ND)].astype(np.float64)


def _is_finite(features_ND: Floats) -> NDArray[np.bool_]:
    """Which frames (N,) have only features that float32 can hold; NaN is none."""
    return np.asarray((np.abs(features_ND) <= _FLOAT32.max).all(axis=1))


def _graph(features: FeatureSettings, fetch: Fetch) -> bytes:
    file = fetch(features.backbone)
    check_sha256(features.backbone, file, features.backbone_sha256)
    try:
        return stored_graph(features.architecture, features.input_size, file, features.blocks, features.pool)
    except ValueError as error:
        said = (
            f"drift.novelty.blocks: got {list(features.blocks)}, which {features.architecture} does not have"
        )
        raise ValueError(f"{said} ({error})") from error
