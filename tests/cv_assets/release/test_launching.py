"""What the door asks of Dagster, and what people are told when Dagster does not answer."""

import json

import graphql
import httpx
import pytest

from cv_assets.release import launching
from cv_assets.release.launching import Dagster, DagsterError, in_one_sentence

REPOSITORY = {"name": "__repository__", "location": {"name": "solar_cells"}}


def dagster(answer) -> Dagster:
    transport = httpx.MockTransport(
        answer if callable(answer) else lambda _: httpx.Response(200, json=answer)
    )
    return Dagster("http://dagster/graphql", "solar_cells", httpx.Client(transport=transport))


@pytest.mark.parametrize("name", ["LOCATIONS", "LAUNCH", "NEWEST", "RUN", "FAILURES"])
def test_every_question_is_one_that_dagster_understands(name):
    from dagster_graphql.schema import create_schema

    schema = create_schema().graphql_schema
    assert graphql.validate(schema, graphql.parse(getattr(launching, name))) == []


def test_a_run_is_launched_in_the_project_s_own_code_location():
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        question = json.loads(request.content)
        asked.append(question["variables"])
        if "Locations" in question["query"]:
            found = {"repositoriesOrError": {"__typename": "RepositoryConnection", "nodes": [REPOSITORY]}}
        else:
            found = {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "run-1"}}}
        return httpx.Response(200, json={"data": found})

    assert dagster(answer).launch("release", {"candidate": "c1"}, {"decides": "c1"}) == "run-1"
    run = asked[1]["run"]
    assert run["selector"]["repositoryLocationName"] == "solar_cells"
    assert run["runConfigData"] == {"ops": {"releases": {"config": {"candidate": "c1"}}}}
    assert run["executionMetadata"]["tags"] == [{"key": "decides", "value": "c1"}]


def refusing(error: Exception):
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusing(httpx.ConnectError("no")), "cannot be reached now .* nothing was concluded"),
        (
            refusing(httpx.ReadTimeout("slow")),
            "may have begun .* decide again in a moment: nothing takes effect twice",
        ),
        (lambda _: httpx.Response(502, text="bad gateway"), "cannot be reached now"),
        (lambda _: httpx.Response(200, text="<html>"), "cannot be reached now"),
        ([], "set CV_GRAPHQL_URL to its address"),
        ({"errors": [{"message": "no such field"}]}, "refused a question of the door: no such field"),
        (
            {"data": {"runsOrError": {"__typename": "PythonError", "message": "a.b.DbError: full\n trace"}}},
            r"did not do it \(PythonError\): full",
        ),
    ],
)
def test_a_dagster_that_does_not_answer_is_told_in_a_sentence(answer, words):
    with pytest.raises(DagsterError, match=words):
        dagster(answer).newest("release", "c1", lambda run: True)


def test_a_project_that_dagster_does_not_know_is_named_beside_those_it_knows():
    other = {**REPOSITORY, "location": {"name": "digits"}}
    answer = {"data": {"repositoriesOrError": {"__typename": "RepositoryConnection", "nodes": [other]}}}
    with pytest.raises(DagsterError, match="no code location solar_cells, only digits"):
        dagster(answer).launch("release", {}, {})


def test_a_run_that_dagster_does_not_know_is_none():
    gone = {"data": {"runOrError": {"__typename": "RunNotFoundError", "message": "no"}}}
    assert dagster(gone).run("run-1") is None


def test_a_failure_is_told_without_python_s_name_for_it():
    said = "dagster._core.definitions.events.Failure: 'bob' may not decide: ask ada\n\nStack"
    assert in_one_sentence(said) == "'bob' may not decide: ask ada"
    assert (
        in_one_sentence("c1 was judged after ada looked at it: look anew")
        == "c1 was judged after ada looked at it: look anew"
    )
