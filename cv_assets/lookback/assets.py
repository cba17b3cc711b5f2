"""The lookback step: looking back at verdicts. It explains them and plays them again, and changes none."""

import base64
import functools
import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dagster as dg
import polars as pl
from pydantic import Field

from cv_assets.drift import episodes
from cv_assets.drift.schema import DriftMetrics
from cv_assets.inspection.schema import Inspections
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.lookback.schema import ThresholdReplay, VerdictExplanation
from cv_assets.release.schema import Releases
from cv_assets.review.answers import known_truth
from cv_assets.spec.acquisition import Bounds
from cv_assets.spec.assets import in_force
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.lake import RefNotFoundError
from resources.let_go import let_go
from resources.pictures import figure_png, montage, picture
from resources.publications import Publications
from resources.tables import Snapshot, Tables, table_path, tag_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cv_assets.frames.preparing import Shown
    from cv_assets.lookback.effects import Effect
    from cv_assets.lookback.explanation import Explanation, Picture, Source, Written

OWN_BAND_GIVES_THE_STORED_VERDICTS = Check(
    "own_band_gives_the_stored_verdicts",
    "Do the stored scores give exactly the stored verdicts when they are held against the thresholds that were in "
    "effect? If not, what differs in a replay would not be the doing of its band.",
)
SPEC_BOUNDS_ARE_MET = Check(
    "spec_bounds_are_met",
    "Does the replayed band meet the spec's bounds on escapes and on failing, by what is known of the captures?",
    blocking=False,
)
ENOUGH_IS_KNOWN = Check(
    "enough_is_known",
    "Did people answer for enough captures to tell whether the replayed band meets the spec's bounds? It is enough "
    "when every interval lies on one side of its bound.",
    blocking=False,
)

THRESHOLD_REPLAY = TableAsset(
    "threshold_replay",
    ThresholdReplay,
    step="lookback",
    checks=(OWN_BAND_GIVES_THE_STORED_VERDICTS, SPEC_BOUNDS_ARE_MET, ENOUGH_IS_KNOWN),
)
EVERY_LINK_IS_THERE = Check(
    "every_link_is_there", "Is every link of the chain in the lake, at the commit that it names?"
)
LINKS_AGREE = Check(
    "links_agree",
    "Are the bytes those that their names say, and do verdict, release, gate, weights and labels say the same?",
    blocking=False,
)
EVERY_LINK_NAMES_ITS_RUN = Check(
    "every_link_names_its_run",
    "Does every link name the run and the code that published it? What a person put into the lake does not.",
    blocking=False,
)

VERDICT_EXPLANATION = TableAsset(
    "verdict_explanation",
    VerdictExplanation,
    step="lookback",
    kinds=frozenset({"markdown"}),
    checks=(EVERY_LINK_IS_THERE, LINKS_AGREE, EVERY_LINK_NAMES_ITS_RUN),
)

_MOST_PICTURES: Final = 24
"""So many frames are inside a page; the others are only linked."""

_MOST_ROWS: Final = 80
_MOST_TILES: Final = 6
"""So many facts and frames are shown in the UI, where what is shown is kept with the run for good."""


class Replay(dg.Config):
    """The operating band to try on stored scores. Nothing that was decided changes."""

    lower: float = Field(description="Below this defect score a part would pass; 0 to 1. 0: none would.")
    upper: float = Field(
        description="From this defect score on a part would fail; 0 to 1, not below `lower`. 2: none would."
    )
    release: str = Field(
        "", description="The version whose verdicts are replayed, e.g. v1.0.0. Empty: the one in force."
    )
    deliveries: list[str] = Field(
        default_factory=list, description="Only these deliveries. Empty: all that the version inspected."
    )


@dg.asset(
    **THRESHOLD_REPLAY.arguments,
    deps=["inspections", "label_table", "benchmark_frames", "releases", "drift_metrics"],
)
def threshold_replay(
    context: dg.AssetExecutionContext,
    config: Replay,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What another operating band would have made of stored scores: one capture per row, its verdict then and now.

    This is the newest replay; each earlier one stays readable as a commit of the lake. Where people answered for
    captures that they were asked about, it shows what the band does to escapes, overkill, precision and review load.
    It changes no verdict and no release: a band comes into force only with a release, as the job `replay_thresholds`
    says.
    """
    from cv_assets.lookback import replay
    from cv_assets.lookback.effects import as_table, bounds_are_met, effects, enough_is_known
    from cv_assets.lookback.figures import changed_frames, replay_figure

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    try:
        band = replay.proposed_band(config.lower, config.upper)
        releases = snapshot.table("releases", or_empty=Releases)
        version = replay.version_to_replay(config.release, releases, spec.pass_class)
        keys = replay.deliveries_to_replay(config.deliveries, snapshot.partitions("inspections"))
        stored = snapshot.columns("inspections", replay.NEEDED, schema=Inspections, partitions=keys)
        scored = replay.scored_by(stored, version)
        truth = known_truth(
            snapshot.table("label_table", or_empty=LabelTable),
            snapshot.table("benchmark_frames", or_empty=BenchmarkFrames),
        )
        replay.check_classes(truth, scored, [one.name for one in spec.classes])
    except replay.CannotReplayError as error:
        raise dg.Failure(f"{error}.", allow_retries=False) from error
    metrics = snapshot.columns("drift_metrics", episodes.NEEDED, schema=DriftMetrics)
    drifted = episodes.drifted_deliveries(metrics, spec.drift.patience)
    rows = replay.replay(scored, truth, band, drifted)
    found = effects(rows, spec.evaluation, spec.pass_class)
    answers, others = replay.answers_by_verdict(scored, rows, drifted), replay.contradictions(scored)
    figure = replay_figure(rows, replay.bands_in_effect(scored), band, spec.pass_class)
    changed = changed_frames(rows, scored, snapshot.fetch, spec.preparation.bounds.max_pixels)
    yield from THRESHOLD_REPLAY.audited(
        rows,
        checks=[
            OWN_BAND_GIVES_THE_STORED_VERDICTS.no_rows(
                others,
                f"{scored.height - others.height} of {scored.height} stored verdicts follow from their stored scores "
                "and thresholds.",
            ),
            SPEC_BOUNDS_ARE_MET.result(*bounds_are_met(found)),
            ENOUGH_IS_KNOWN.result(*enough_is_known(found, answers), {"answers": preview(answers)}),
        ],
        metadata={
            "in short": replay.in_short(rows, scored, band),
            "before and after": preview(as_table(found)),
            "verdicts": preview(replay.transitions(rows)),
            "changes": preview(replay.changes(rows, spec.pass_class), rows_shown=6),
            **_numbers(rows, found),
            "scores": picture(
                figure_png(figure), "stored scores with the band in effect and the replayed one"
            ),
            **({"changed frames": _sheet(changed)} if changed.images else {}),
        },
    )


def _numbers(rows: pl.DataFrame, found: "Sequence[Effect]") -> dict[str, int | float]:
    """What Dagster plots from replay to replay."""
    estimates = {
        f"{one.name} {when}": estimate.interval.value
        for one in found
        for when, estimate in (("before", one.before), ("after", one.after))
    }
    return {
        "captures": rows.height,
        "changed": int(rows["changed"].sum()),
        "answered": int(rows["weight"].count()),
        **{name: round(value, 4) for name, value in estimates.items() if value is not None},
    }


def _sheet(changed: "Shown") -> dg.MarkdownMetadataValue:
    return picture(montage(changed.images, changed.captions), "frames that would get another verdict")


class Asked(dg.Config):
    """Which part is to be explained."""

    part: str = Field(description="The part, as in raw_frames, e.g. m07c012.")


@dg.asset(
    **VERDICT_EXPLANATION.arguments,
    # It reads nearly every table; the graph shows the two that it starts from.
    deps=["inspections", "releases"],
)
def verdict_explanation(
    context: dg.AssetExecutionContext,
    config: Asked,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """Why one part got its verdict: a fact per row, and where it is written, by which run and which code.

    The chain goes from the part's pictures to who approved the release, what it was trained on, who labelled that, and
    what people said of the part since. This is the newest explanation; each earlier one stays readable as a commit of
    the lake. Beside the table lies the same as one HTML page, to be kept, sent or printed. It changes no verdict.
    """
    from cv_assets.lookback.chain import UnknownPartError, explain

    archive = LakeArchive(tables.snapshot(context), deployment)
    try:
        explanation = explain(archive, config.part)
    except UnknownPartError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    page = html_page(explanation, archive)
    path = f"verdict_explanation/{hashlib.sha256(page).hexdigest()}.html"
    yield from VERDICT_EXPLANATION.audited(
        explanation.rows,
        files={path: page},
        checks=_chain_checks(explanation, archive),
        metadata={
            "part": explanation.part,
            "verdict": explanation.verdict or "none yet",
            "release": explanation.release or "none",
            "approver": explanation.approver or "none",
            "in short": "\n".join(explanation.in_short),
            "page": _page_for_ui(explanation, archive),
            **_frames_shown(explanation, archive),
            "html page": path,
            "links": explanation.rows.height,
            "rows": preview(explanation.rows, ("link", "about", "fact"), rows_shown=_MOST_ROWS),
        },
    )


class LakeArchive:
    """The lake as an explanation reads it, from one commit on; it follows `cv_assets.lookback.explanation.Archive`."""

    def __init__(self, snapshot: Snapshot, deployment: Deployment) -> None:
        """`snapshot` is the pin. What is read at other commits is noted in its reads, too."""
        self._pinned, self._lake, self._deployment = snapshot, snapshot.lake, deployment
        self._publications = Publications(snapshot.lake)
        self._urls: dict[Source, str] = {}

    @property
    def pin(self) -> str:
        """The commit at which the explanation was asked for."""
        return self._pinned.commit

    def read(self, commit: str, asset: str, partition: str | None = None) -> "Written":
        """A table as of `commit`, with what published it."""
        from cv_assets.lookback.explanation import Source, Written

        path = table_path(asset, partition)
        published = self._publications.of(commit, asset, partition) if self._has(commit) else None
        if published is None:
            return Written(pl.DataFrame(), Source(commit, path))
        said = published.metadata
        source = Source(
            published.id,
            path,
            run_id=said.get("run_id"),
            code_version=said.get("code_version"),
            input_commit=said.get("input_commit"),
            published_at=published.created_at,
        )
        return Written(pl.read_parquet(self._file(commit, path)), source)

    def scan(self, commit: str, asset: str, columns: Sequence[str]) -> pl.LazyFrame | None:
        """These columns of all partitions of `asset`; None when there is no partition."""
        keys = Snapshot(self._lake, commit).partitions(asset) if self._has(commit) else []
        if not keys:
            return None
        files = [self._file(commit, table_path(asset, key)) for key in keys]
        # A table of last year may have other columns than those that are read here.
        return pl.scan_parquet(files, extra_columns="ignore").select(columns)

    def fetch(self, source: "Source") -> Path:
        """A local file with the object's bytes. Raises GoneError, else FileNotFoundError."""
        from cv_assets.lookback.explanation import GoneError

        if words := self._gone.get(source.path):
            raise GoneError(words)
        return self._file(source.commit, source.path)

    def let_go(self, paths: Sequence[str]) -> dict[str, str]:
        """Those of `paths` that the spec's retention let go of, each with when and by which rule, in words."""
        return {path: self._gone[path] for path in paths if path in self._gone}

    def exists(self, source: "Source") -> bool:
        """Whether the object is there."""
        return bool(self.url(source))

    def tagged(self, version: str) -> str | None:
        """The commit that a version's tag names; None when there is no such tag."""
        # A branch that was cut from main has main's releases, whose tags carry no branch.
        own = tag_name(self._deployment.branch, version)
        return self._lake.tags(own).get(own) or self._lake.tags(version).get(version)

    def url(self, source: "Source") -> str:
        """Where a person looks at the object; nothing when it is not there."""
        if source not in self._urls:
            # A server still shows what was let go at earlier states, until its garbage collection.
            listed = source.path not in self._gone and self._lists(source)
            try:
                self._urls[source] = self._lake.url(source.commit, source.path) if listed else ""
            except OSError:  # the embedded lake has lost the stored file
                self._urls[source] = ""
        return self._urls[source]

    def run_url(self, run_id: str) -> str:
        """The run in Dagster's UI."""
        return f"{self._deployment.dagster_url}/runs/{run_id}"

    def image(self, picture: "Picture") -> "NDArray[np.uint8] | None":
        """The frame, small enough to be shown; None when it is no image, or not there."""
        from cv_assets.lookback.pictures import small

        if not self.exists(picture.source):
            return None
        return small(self.fetch(picture.source), self._max_pixels)

    @functools.cached_property
    def _max_pixels(self) -> int:
        row = self.read(self.pin, "project_spec").row(section="preparation")
        return Bounds().max_pixels if row is None else int(json.loads(row["value"])["bounds"]["max_pixels"])

    @functools.cached_property
    def _gone(self) -> dict[str, str]:
        return let_go(self._lake)

    def _lists(self, source: "Source") -> bool:
        return self._has(source.commit) and source.path in self._lake.paths(source.commit, source.path)

    def _has(self, commit: str) -> bool:
        try:
            return bool(self._lake.resolve(commit))
        except RefNotFoundError:
            return False

    def _file(self, commit: str, path: str) -> Path:
        if commit == self.pin:
            return self._pinned.fetch(path)
        self._pinned.reads.add(f"{commit}:{path}")
        return self._lake.fetch(commit, path)


def html_page(explanation: "Explanation", archive: LakeArchive) -> bytes:
    """The explanation as one HTML file, with its pictures inside."""
    from cv_assets.lookback.page import Links, as_html
    from cv_assets.lookback.pictures import png

    images = ((one, archive.image(one)) for one in itertools.islice(explanation.pictures, _MOST_PICTURES))
    urls = {
        picture: f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"
        for picture, image in images
        if image is not None
    }
    return as_html(explanation, Links(archive.url, archive.run_url, lambda one: urls.get(one, "")))


def _page_for_ui(explanation: "Explanation", archive: LakeArchive) -> dg.MarkdownMetadataValue:
    from cv_assets.lookback.page import Links, as_markdown

    def url(source: "Source") -> str:
        # The UI shows no link to a file.
        return found if (found := archive.url(source)).startswith("http") else ""

    return dg.MetadataValue.md(as_markdown(explanation, Links(url, archive.run_url, lambda _: "")))


def _frames_shown(explanation: "Explanation", archive: LakeArchive) -> dict[str, dg.MarkdownMetadataValue]:
    shown = list(itertools.islice(explanation.pictures, _MOST_TILES))
    if not shown:
        return {}
    sheet = montage([archive.image(one) for one in shown], [one.caption for one in shown], columns=2)
    return {"frames": picture(sheet, f"the frames of part {explanation.part}")}


def _chain_checks(explanation: "Explanation", archive: LakeArchive) -> list[dg.AssetCheckResult]:
    rows, lost = explanation.rows, explanation.not_there(archive)
    wrong = [one.says for one in explanation.findings if not one.holds]
    unsigned = rows.filter(pl.col("run_id").is_null() | pl.col("code_version").is_null())
    return [
        EVERY_LINK_IS_THERE.no_rows(
            lost,
            f"All {rows.height} links are in the lake."
            if lost.is_empty()
            else f"{lost.height} of {rows.height} links lead nowhere: the lake has lost what they name, or it was "
            "never published. The page says which; the rest of the chain holds.",
        ),
        LINKS_AGREE.result(
            not wrong,
            f"{len(explanation.findings)} comparisons hold."
            if not wrong
            else f"Not so, {len(wrong)} of {len(explanation.findings)}: {'; '.join(wrong)}.",
        ),
        EVERY_LINK_NAMES_ITS_RUN.no_rows(
            unsigned,
            f"All {rows.height} links name their run and its code."
            if unsigned.is_empty()
            else f"{unsigned.height} of {rows.height} links name no run or no code: a person put them into the lake.",
        ),
    ]
