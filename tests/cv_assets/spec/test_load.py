"""A spec file: what it becomes, and how its mistakes are told."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_assets.spec.load import (
    SpecError,
    changed_sections,
    digest,
    from_table,
    load_spec,
    parse_spec,
    to_table,
)
from cv_assets.spec.schema import ProjectSpec, Spec
from resources.deployments import ROOT

TEMPLATE = (ROOT / "specs" / "template.yaml").read_text()
SPEC = parse_spec(TEMPLATE, "template.yaml")
KEYED_LINES = [
    number for number, line in enumerate(TEMPLATE.splitlines()) if re.match(r"\s*(- )?[A-Za-z_]\w*:", line)
]


def mistakes(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "mine.yaml")
    return str(caught.value)


def changed(old: str, new: str) -> str:
    assert old in TEMPLATE
    return TEMPLATE.replace(old, new, 1)


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(TEMPLATE.splitlines(), start=1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("C: 1.0", "C: -1", "training.models[0].recipe.C: got -1, expected a number above 0"),
        ("folds: 5", "folds: five", 'training.folds: got "five", expected a whole number'),
        ("folds: 5", "folds: 2.5", "training.folds: got 2.5, expected a whole number"),
        ("epochs: 20", "epochs: 0", "training.models[1].recipe.epochs: got 0, expected at least 1"),
        ("colour: grey", "colour: gray", 'got "gray", expected one of grey, rgb; did you mean `grey`?'),
        ('guideline: "1"', "guideline: 1", "labels.guideline: got 1, expected text: put it in quotes"),
        ("passes: true", "passes: yes", 'classes[0].passes: got "yes", expected true or false'),
        ("size: [512, 512]", "size: [512]", "preparation.size: got [512], expected [width, height]"),
        ("size: [512, 512]", "size: [1, 2, 3]", "preparation.size: got [1, 2, 3], expected [width, height]"),
        ("include: [\"no visible defect\"]", "include: none", "got \"none\", expected a list, such as [a, b]"),
        ("confidence: 0.95", "confidence: .nan", "evaluation.confidence: got NaN, expected a finite number"),
        ("name: cnn", "name: vit-b/16", "expected a name of small letters, digits and _"),
        ("name: cnn", "name: released", "expected another name: reports call the model in force so"),
        ("name: cnn", "name: vit", 'training.models[1].name: got "vit", expected another name: [0] has it'),
        ("sha256: null", "sha256: abc", "expected the 64 hexadecimal digits of a SHA-256"),
        ('["team:quality"]', "[quality]", 'got "quality", expected `team:name` or a mail address'),
        ("kind: frozen", "kind: frosen", 'got "frosen", expected one of frozen, fine_tune; did you mean `frozen`?'),
        ("test: 0.15", "test: 0.2", "splits.shares: train, val and test must sum to 1, got 1.05"),
        ("train: 0.7", "train: 70", "splits.shares.train: got 70, expected at most 1"),
        ("train: 0.7", "train: -0.7", "splits.shares.train: got -0.7, expected at least 0"),
        ("train: 0.7", "train: 70%", 'splits.shares.train: got "70%", expected a number'),
        ("max_overkill: null", "max_overkill: 0.1", "exactly one of `min_fail_precision` and `max_overkill`"),
        ("min_brightness: 5.0", "min_brightness: 251", "min_brightness must be below max_brightness"),
        ("size: null", "size: [9000, 9000]", "frames of the accepted size [9000, 9000] have more than max_pixels"),
        ("at_least: 0.8", "at_least: 80", "recall lies between 0 and 1 (0.8 means 80 %), got 80"),
        ("at_most: 0.1", "at_least: 0.1", "smaller is better for escape_rate: use `at_most`"),
        ("at_least: 0.8", "at_most: 0.8", "greater is better for recall: use `at_least`"),
        ("slice: class=scratch", "slice: class=crack", "expected one of all, class=good, class=scratch, product=s"),
        ("slice: class=scratch", "slice: product=huge", 'evaluation.acceptance[0].slice: got "product=huge"'),
        ("select_by: roc_auc", "select_by: label_agreement", "a metric that tells models apart"),
        ("group_by: [group]", "group_by: [module]", "splits.group_by[0]: got \"module\", expected a named group"),
        ("product: [small, large]", "product: [small, huge]", "`file_name` never reads this as its `product`"),
        ("product: [small, large]", "colour: [red]", "expected an attribute, which is a named group of"),
        ("exports: exports", "exports: inbox", "expected another folder than `acquisition.inbox`"),
        ("exports: exports", "exports: ./inbox/labels/", "neither above nor below it"),
        ("inbox: inbox", "inbox: exports/new", 'labels.exports: got "exports", expected another folder than'),
        ("exports: exports", "exports: lake", 'labels.exports: got "lake", expected a folder of its own, that neither'),
        ("exports: exports", "exports: Cache/labels", "neither holds nor lies in cache: in the data"),
        ("exports: exports", "exports: .", "neither holds nor lies in cache, deliveries, explanations, lake, taken"),
        ("inbox: inbox", "inbox: x/../deliveries", 'acquisition.inbox: got "x/../deliveries", expected a folder'),
        ("inbox: inbox", "inbox: ..", "neither holds nor lies in cache, deliveries, explanations, lake, taken"),
        ("inbox: inbox", "inbox: plant/taken", "expected another name: `taken` beside the inbox holds the files"),
        ("exports: exports", "exports: taken/x", "neither holds nor lies in taken"),
        ("name: efficientnet_lite0", "name: imagenet", 'training.models[0].weights.name: got "imagenet", expected'),
        ("name: vit_s_focus", "name: efficientnet_lite0", "expected weights of vit_small_patch14_dinov2: this package "
         "holds those of tf_efficientnet_lite0"),
        ("- metric: escape_rate # ... or overkill, review_share, calibration_error, latency_p95_ms\n      at_most: 0.1",
         "- {metric: recall, slice: class=scratch, at_least: 0.9}\n    #",
         'evaluation.acceptance[1]: got "recall", expected each figure to be judged once: [0] judges this one already'),
        ("metric: recall", "metric: fail_precision", "fail_precision is about all classes together: expected `all`"),
        ("metric: recall", "metric: label_agreement", "label_agreement is measured on all frames of a set together"),
        ("metric: recall", "metric: label_agreement", 'acceptance[0].set: got "golden", its labels are verified'),
        ("escape_rate #", "escape_rate\n      slice: class=good #", "only defective frames can escape, and"),
        ("escape_rate #", "overkill\n      slice: class=scratch #", "expected class=good, or `all`"),
        ("escape_rate #", "latency_p95_ms\n      slice: product=small #", "of a set together: expected `all`"),
        ("applies: always", "applies: when_trained", "`class=scratch` always trains, an attribute's slice such as"),
        ("applies: always", "applies: sometimes", "got \"sometimes\", expected one of always, when_trained"),
        ("max_loss: 0.1 #", "max_loss: 10 #", "evaluation.regression[0].max_loss: got 10, expected at most 1"),
        ("max_loss: 0.1 #", "max_loss: -0.1 #", "evaluation.regression[0].max_loss: got -0.1, expected at least 0"),
        ("escape_rate # as in", "latency_p95_ms # as in", "the release is scored again, not timed again: bound it in"),
        ("escape_rate # as in", "label_agreement # as in", 'regression[0].metric: got "label_agreement", expected a'),
        ("escape_rate # as in", "fpr # as in", 'evaluation.regression[0].metric: got "fpr", expected one of roc_auc'),
        ("golden # default; or challenge,", "test # default; or", 'got "test", expected one of golden, challenge'),
        ("slice: product=small # default all; as", "slice: product=huge # default all; as",
         'evaluation.regression[0].slice: got "product=huge", expected one of all, class=good, class=scratch, '),
        ("slice: product=small # default all; as", "slice: class=good # default all; as",
         'evaluation.regression[0].slice: got "class=good", only defective frames can escape'),
        ("- metric: escape_rate # as in",
         "- {metric: escape_rate, slice: product=small, max_loss: 0.2}\n    - metric: escape_rate # as in",
         'evaluation.regression[1]: got "escape_rate", expected each figure to be judged once: [0] judges this one'),
        ("new_condition_frames: 20", "new_condition_frames: 0", "evaluation.new_condition_frames: got 0, expected at"),
        ("model: cnn # whose", "model: resnet # whose", 'drift.novelty.model: got "resnet", expected one of `training'),
        ("blocks: [4] # stages", "blocks: [-1] # stages", "drift.novelty.blocks[0]: got -1, expected at least 0"),
        ("pool: [mean, max] # default [mean]", "pool: []", "drift.novelty.pool: got [], expected a list of at least 1"),
        ("dimensions: 32", "dimensions: 0", "drift.novelty.dimensions: got 0, expected at least 1"),
        ("bins: 10 # default; quantile", "bins: 1 # quantile", "drift.bins: got 1, expected at least 2"),
        ("measure: psi", "measure: ks", 'drift.measure: got "ks", expected one of psi, kl'),
        ("level: 0.9 # default", "level: 0.5 #", "drift.level: got 0.5, expected a number above 0.5"),
        ("level: 0.9 # default", "level: 1 #", "drift.level: got 1, expected a number below 1"),
        ("tolerance: 0.2", "tolerance: -0.2", "drift.tolerance: got -0.2, expected at least 0"),
        ("patience: 2 #", "patience: 0 #", "drift.patience: got 0, expected at least 1"),
        ("max_repeated: 0.05", "max_repeated: 5", "drift.max_repeated: got 5, expected at most 1"),
        ("metric: overkill # or", "metric: recall # or", 'kpis.bounds[0].metric: got "recall", expected one of escape'),
        ("at_most: 0.2 #", "at_least: 0.2 #", "smaller is better for overkill: give `at_most` alone"),
        ("at_least: 0.7 #", "at_most: 0.7 #", "greater is better for fail_precision: give `at_least` alone"),
        ("at_most: 0.2 #", "at_most: 20 #", "kpis.bounds[0].at_most: got 20, expected at most 1"),
        ("metric: fail_precision # greater is better\n      at_least: 0.7", "metric: overkill\n      at_most: 0.1",
         'kpis.bounds[1].metric: got "overkill", expected each KPI to be bounded once: [0] has it already'),
        ("min_answered: 0.8", "min_answered: 80", "kpis.min_answered: got 80, expected at most 1"),
        ("min_new_labels: 100", "min_new_labels: 0", "retraining.min_new_labels: got 0, expected at least 1"),
        ("cooldown_hours: 24.0", "cooldown_hours: -1", "retraining.cooldown_hours: got -1, expected at least 0"),
        ("max_retries: 2", "max_retries: 11", "retraining.max_retries: got 11, expected at most 10"),
        ("schedule: null", "schedule: monthly", 'retraining.schedule: got "monthly", '),
        ("(?P<part>", "(?P<piece>", "expected a named group (?P<part>…)"),
        ("(?P<part>", "(?P<part", "acquisition.file_name: got"),
        ("of(?P<count>\\d+)", "of\\d+", "needs the named groups (?P<count>…) in `file_name`"),
        ("[line1_cam1", "[line1", "acquisition.examples[0]: got"),
        ("_20260302T", "_20261302T", "`time_format` does not read its `time` '20261302T081530'"),
        ('"%Y%m%dT%H%M%S"', '"%H%M"', "expected a strptime format with year, month and day"),
        ("approvers: [quality.lead]", "approvers: []", "needs at least one name in `approvers`"),
        ("approvers: [quality.lead]", "approvers: [policy]", "expected persons: 'policy' stands for what no"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_key_its_line_the_value_and_what_was_expected(old, new, told):
    message = mistakes(changed(old, new))
    assert told in message
    assert re.search(r"mine\.yaml:\d+: [a-z]", message)
    assert "pydantic" not in message
    assert "http" not in message


def test_the_line_is_that_of_the_key():
    assert mistakes(changed("C: 1.0", "C: -1")).startswith(f"mine.yaml:{line_of('C: 1.0')}: training.")


def test_exports_do_not_lie_among_the_frames_that_were_taken_in():
    text = changed("inbox: inbox", "inbox: plant/inbox").replace(
        "exports: exports", "exports: plant/taken/labels"
    )
    assert "expected another folder than `taken` beside the inbox, which holds the frames" in mistakes(text)


@pytest.mark.parametrize(
    ("inbox", "exports"),
    [
        ("plant/inbox", "plant/exports"),
        ("../inbox", "../exports"),
        ("/mnt/cameras", "/mnt/labels"),
        ("inbox2", "inbox"),
    ],
)
def test_folders_of_their_own_are_fine_wherever_they_are(inbox, exports):
    text = changed("inbox: inbox", f"inbox: {inbox}").replace("exports: exports", f"exports: {exports}")
    spec = parse_spec(text, "mine.yaml")
    assert (spec.acquisition.inbox, spec.labels.exports) == (inbox, exports)


def test_an_estimate_and_a_bound_of_one_figure_are_two_criteria():
    both = "- {metric: recall, slice: class=scratch, judge: bound, at_least: 0.6}\n    - metric: escape_rate"
    assert len(parse_spec(changed("- metric: escape_rate", both), "mine.yaml").evaluation.acceptance) == 3


def test_a_condition_that_may_not_train_is_judged_once_it_does():
    text = changed("slice: class=scratch", "slice: product=small").replace(
        "applies: always", "applies: when_trained"
    )
    assert parse_spec(text, "mine.yaml").evaluation.acceptance[0].applies == "when_trained"


def test_drift_kpis_and_retraining_have_defaults():
    sections = TEMPLATE.partition("\ndrift:")[0]
    spec = parse_spec(sections, "mine.yaml")
    assert (spec.drift.novelty.model, spec.drift.novelty.pool) == (None, ("mean",))
    assert (spec.kpis.bounds, spec.retraining.schedule) == ((), None)


def test_a_criterion_on_the_test_set_needs_test_frames():
    text = (
        changed("train: 0.7", "train: 0.85")
        .replace("test: 0.15", "test: 0")
        .replace("set: golden", "set: test", 1)
    )
    assert 'evaluation.acceptance[0].set: got "test", needs `splits.shares.test` above 0' in mistakes(text)


def test_a_missing_setting_is_told_with_what_it_is_for():
    message = mistakes(changed("salt: my-project-1", ""))
    assert "splits.salt: is missing. Another salt deals the groups anew." in message
    assert message.startswith(f"mine.yaml:{line_of('splits:')}:")


def test_all_mistakes_are_told_at_once_from_top_to_bottom():
    text = TEMPLATE
    for old, new in [
        ("purpose:", "purpos:"),
        ("input_size: 224", "input_size: 1"),
        ("min_votes: 1", "min_votes: 0"),
        ("kind: fine_tune", "knd: fine_tune"),
        ("group_by: [group]", "group_by: [module]"),
        ("slice: class=scratch", "slice: class=crack"),
    ]:
        text = text.replace(old, new, 1)
    header, *lines = mistakes(text).splitlines()
    assert header == "mine.yaml has 6 mistakes:"
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "purpos",
        "labels.consensus.min_votes",
        "splits.group_by[0]",
        "training.models[0].input_size",
        "training.models[1].recipe.knd",
        "evaluation.acceptance[0].slice",
    ]


def test_a_setting_in_the_wrong_place_is_told_where_it_belongs():
    message = mistakes(changed("colour: grey", "min_focus: 3"))
    assert "preparation.min_focus: there is no such key here, it belongs to `preparation.bounds`" in message
    message = mistakes(changed("C: 1.0", "epochs: 3"))
    assert "it belongs to `training.models.recipe` of `kind: fine_tune`" in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "mine.yaml: the file is empty; copy specs/template.yaml to start one"),
        ("# nothing\n", "mine.yaml: the file is empty; copy specs/template.yaml to start one"),
        ("- name\n", "mine.yaml:1: expected a block of `key: value` lines at the top, got list"),
        ("name: a\nname: b\n", "mine.yaml:2: a key is given twice: 'name: b'"),
        ("classes:\n\t- name: a\n", "mine.yaml:2: not valid YAML: a tab, where YAML wants spaces"),
        (
            "name: [a\npurpose: b",
            "mine.yaml:2: not valid YAML: expected ',' or ']', but got ':', while parsing a",
        ),
        (
            "name: !!python/object:os.system 1",
            "mine.yaml:1: not valid YAML: could not determine a constructor",
        ),
        ("name: &a [*a]", "mine.yaml: expected plain settings: Circular reference detected"),
        ("\x00", "mine.yaml: not valid YAML: unacceptable character #x0000"),
        ("[" * 1500, "mine.yaml: not valid YAML: nested too deeply"),
        ("seed: " + "9" * 5000, "mine.yaml: not valid YAML: a value cannot be read: Exceeds the limit"),
    ],
)
def test_what_is_no_spec_at_all_gets_one_clear_message(text, told):
    message = mistakes(text)
    assert message.startswith(told)
    assert len(message.splitlines()) == 1


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"mine\.yaml: there is no such file; copy specs/template"):
        load_spec(tmp_path / "mine.yaml")
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load_spec(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(SpecError, match=r"mine\.yaml: expected UTF-8 text, got byte 0xe9"):
        load_spec(tmp_path / "mine.yaml")


def test_a_date_stays_the_text_that_was_written():
    text = changed('guideline: "1"', "guideline: 2026-03-02").replace(
        "salt: my-project-1", "salt: 2026-03-02T08:00:00"
    )
    spec = parse_spec(text, "mine.yaml")
    assert (spec.labels.guideline, spec.splits.salt) == ("2026-03-02", "2026-03-02T08:00:00")


def test_loading_is_quick():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        load_spec(Path(ROOT / "specs" / "solar_cells.yaml"))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.15


def test_comments_and_order_do_not_count_and_settings_do():
    sections = re.split(r"\n\n(?=\w)", TEMPLATE.partition("\n\n")[2])
    assert digest(parse_spec("\n\n".join(reversed(sections)), "")) == digest(SPEC)
    assert digest(parse_spec(re.sub(r" # .*", "", TEMPLATE), "")) == digest(SPEC)
    assert digest(parse_spec(changed("seed: 0 # default", ""), "")) == digest(SPEC)
    assert digest(parse_spec(changed("seed: 0", "seed: 1"), "")) != digest(SPEC)


def test_the_table_has_a_row_per_section_and_follows_its_contract():
    rows = to_table(SPEC)
    assert ProjectSpec.is_valid(rows)
    assert rows["section"].to_list() == list(Spec.model_fields)
    assert rows["spec_digest"].unique().to_list() == [digest(SPEC)]
    assert changed_sections(SPEC, rows) == []


def test_a_table_that_todays_settings_cannot_read_is_told_by_key():
    rows = to_table(SPEC)
    with pytest.raises(SpecError, match="project_spec: salt: there is no such key"):
        from_table(
            rows.vstack(rows.head(1).with_columns(section=rows["section"].head(1).replace("name", "salt")))
        )


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


SETTINGS = {
    "seed: 0": st.integers(0, 2**32 - 1),
    "C: 1.0": st.floats(min_value=1e-9, max_value=1e9),
    "salt: my-project-1": st.text(st.characters(categories=["L", "N", "P"]), min_size=1).map(quoted),
    "max_escape: 0.05": st.floats(0, 1),
    "epochs: 20": st.integers(1, 10**6),
    "pool: [mean, max]": st.sampled_from(["[mean]", "[min, max]"]),
    "after: move": st.sampled_from(["keep", "move"]),
}


@settings(max_examples=50)
@given(st.data())
def test_a_changed_setting_survives_the_table_with_its_digest_and_is_named(data):
    setting = data.draw(st.sampled_from(sorted(SETTINGS)))
    value = data.draw(SETTINGS[setting])
    shown = "null" if value is None else value
    spec = parse_spec(changed(setting, f"{setting.partition(':')[0]}: {shown}"), "mine.yaml")
    assert from_table(to_table(spec)) == spec
    assert digest(from_table(to_table(spec))) == digest(spec)
    assert (changed_sections(spec, to_table(SPEC)) == []) == (spec == SPEC)


@settings(max_examples=50)
@given(st.sampled_from(KEYED_LINES), st.data())
def test_a_misspelt_key_is_always_named_with_its_line(number, data):
    lines = TEMPLATE.splitlines()
    indent, key, rest = re.fullmatch(r"(\s*(?:- )?)(\w+)(:.*)", lines[number]).groups()
    position = data.draw(st.integers(0, len(key)))
    misspelt = key[:position] + data.draw(st.sampled_from("xyzq")) + key[position:]
    lines[number] = indent + misspelt + rest
    assert re.search(rf"mine\.yaml:{number + 1}: [\w.\[\]]*\b{misspelt}: ", mistakes("\n".join(lines)))


ODD = [
    "",
    "null",
    "true",
    "-1",
    "1e400",
    ".nan",
    "99999999999999999999999",
    "x",
    "''",
    "[]",
    "[[]]",
    "{}",
    "{kind: 3}",
    "[{}]",
    "{1: 2}",
]


@settings(max_examples=50)
@given(st.sampled_from(KEYED_LINES), st.sampled_from(ODD))
def test_whatever_stands_for_a_value_is_a_spec_or_a_message_with_a_line(number, odd):
    lines = TEMPLATE.splitlines()
    lines[number] = f"{lines[number].partition(':')[0]}: {odd}"
    try:
        message = ""
        parse_spec("\n".join(lines), "mine.yaml")
    except SpecError as error:
        message = str(error)
    assert not message or re.search(r"mine\.yaml:\d+: ", message)
    assert "pydantic" not in message


def test_who_changes_a_spec_changes_no_other():
    text = (ROOT / "specs" / "solar_cells.yaml").read_text()
    parse_spec(text, "spec.yaml").owners.clear()
    assert "default" in parse_spec(text, "spec.yaml").owners
