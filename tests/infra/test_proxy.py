import shutil

import pytest
from make_proxy import ENVIRONMENT, running_proxy

pytestmark = pytest.mark.skipif(
    not (shutil.which("nginx") or shutil.which("/usr/sbin/nginx")),
    reason="needs nginx: apt-get install nginx-light",
)

EVERYWHERE = ("view", "operate", "approve-solar-cells", "label-solar-cells")


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    with running_proxy(tmp_path_factory.mktemp("proxy")) as visitor:
        yield visitor


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_stranger_who_opens_a_page_is_sent_to_the_login_and_back(visitor, name):
    answer = visitor.opens(name, "/runs?view=all&x=1")
    assert answer.status_code == 302
    assert (
        answer.headers["location"] == f"https://login.example/?back=https://{name}.cv.test/runs?view=all&x=1"
    )


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_stranger_s_script_is_told_401(visitor, name):
    assert visitor.opens(name, "/graphql", Accept="application/json").status_code == 401
    assert visitor.opens(name, "/graphql", post=True, Accept="*/*").status_code == 401


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("viewers", {"view"}),
        ("operators", {"view", "operate"}),
        ("approvers", {"view", "approve-solar-cells"}),
        ("annotators", {"label-solar-cells"}),
        ("somebody-else", set()),
    ],
)
def test_a_group_reaches_its_own_parts_alone(visitor, group, names):
    answers = {name: visitor.opens(name, login=f"ann:{group}").status_code for name in EVERYWHERE}
    assert answers == {name: 200 if name in names else 403 for name in EVERYWHERE}


def test_each_name_leads_to_its_service(visitor):
    login = "ann:operators+approvers+annotators"
    services = [visitor.opens(name, login=login).json()["service"] for name in EVERYWHERE]
    assert services == ["viewer", "webserver", "approvals-solar-cells", "label-studio-solar-cells"]


def test_the_door_is_told_who_it_is_and_that_the_proxy_says_so(visitor):
    sent = visitor.opens("approve-solar-cells", login="ann:approvers").json()["headers"]
    assert sent["x-auth-request-email"] == "ann@example.com"
    assert sent["x-auth-request-user"] == "ann"
    assert sent["x-proxy-secret"] == ENVIRONMENT["CV_PROXY_SECRET"]


FORGED = {
    "X-Auth-Request-Email": "boss@example.com",
    "X-Auth-Request-User": "boss",
    "X-Auth-Request-Groups": "approvers",
    "X-Auth-Request-Preferred-Username": "boss",
    "X-Auth-Request-Redirect": "https://elsewhere.example",
    "X-Forwarded-User": "boss",
    "X-Forwarded-Email": "boss@example.com",
    "X-Forwarded-Groups": "approvers",
    "X-Proxy-Secret": "guessed",
    "Forwarded": "for=boss",
    "Authorization": "Bearer boss",
    "X_Auth_Request_Email": "boss@example.com",
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_nothing_that_a_client_says_of_itself_arrives(visitor, name):
    sent = visitor.opens(name, login="ann:viewers+operators+approvers+annotators", **FORGED).json()["headers"]
    assert not [line for line in sent.items() if "boss" in line[1] or line[1] in ("guessed", "approvers")]


@pytest.mark.parametrize("name", ["view", "operate", "label-solar-cells"])
def test_only_the_door_learns_names_and_the_secret(visitor, name):
    sent = visitor.opens(name, login="ann:viewers+operators+annotators").json()["headers"]
    assert not [line for line in sent if line.startswith("x-auth-request") or line == "x-proxy-secret"]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_the_cookie_of_the_login_stays_at_the_proxy(visitor, name):
    sent = visitor.opens(name, login="ann:viewers+operators+approvers+annotators").json()["headers"]
    assert "login=" not in sent.get("cookie", "")


def test_forged_headers_are_no_login(visitor):
    assert visitor.opens("approve-solar-cells", **FORGED).status_code == 302


def test_a_page_of_another_name_may_not_act_here(visitor):
    login = "ann:operators"
    own, foreign = "https://operate.cv.test", "https://label-solar-cells.cv.test"
    assert visitor.opens("operate", "/graphql", login, post=True, Origin=own).status_code == 200
    assert visitor.opens("operate", "/graphql", login, post=True, Origin=foreign).status_code == 403
    assert visitor.opens("operate", "/graphql", login, post=True, Origin="null").status_code == 403
    handshake = {"Origin": foreign, "Connection": "Upgrade", "Upgrade": "websocket"}
    assert visitor.opens("operate", "/graphql", login, **handshake).status_code == 403


@pytest.mark.parametrize("name", ["elsewhere", "approve-", "label-", "x.operate"])
def test_another_name_leads_nowhere(visitor, name):
    assert visitor.opens(name, login="ann:operators+approvers").status_code == 404


@pytest.mark.parametrize("name", ["approve-solar-cells", "label-solar-cells"])
def test_another_domain_with_the_name_of_a_project_s_part_leads_nowhere(visitor, name):
    answer = visitor.opens("", login="ann:approvers+annotators", Host=f"{name}.evil.test")
    assert answer.status_code == 404


def test_the_door_of_a_project_that_is_not_there_is_no_door(visitor):
    assert visitor.opens("approve-nothing", login="ann:approvers").status_code == 502


@pytest.mark.parametrize(
    "group", ["", "cell%20viewers", "CN=viewers,OU=cells", "cell viewers", "a&b", "a?b#c"]
)
def test_a_group_that_cannot_be_asked_for_is_refused_in_words_and_lets_nobody_in(group, tmp_path):
    with running_proxy(tmp_path, CV_GROUP_OPERATORS=group) as visitor:
        answer = visitor.opens("operate", login="ann:viewers")
    if group == "cell%20viewers":
        assert answer.status_code == 403
    else:
        assert (answer.status_code, answer.text[:31]) == (500, "A CV_GROUP_ variable is empty, ")
