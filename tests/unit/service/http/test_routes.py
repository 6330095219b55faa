"""Every route says what a key must allow, and what is no route is not told to strangers."""

from __future__ import annotations

import json

import pytest

from vaegis.service.auth.keys import Access
from vaegis.service.http.routes import OTHER, ROUTES, route_of


def test_every_route_of_the_app_is_known_by_its_template(new_app, send):
    paths = set(json.loads(send(new_app(), "GET", "/openapi.json").content)["paths"])
    assert "/score" in paths
    assert all(path in route_of(path).paths for path in paths)


def test_openapi_says_in_words_what_each_operation_does(new_app, send):
    paths = json.loads(send(new_app(), "GET", "/openapi.json").content)["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]
    assert paths["/livez"]["get"]["summary"] == "Answer as long as the process runs"
    for operation in operations:  # the framework makes one of the name of the function where there is none
        assert operation["summary"] != operation["operationId"].replace("_", " ").title()


def test_what_answers_get_answers_head_without_a_body(new_app, send):
    app = new_app()
    for route in ROUTES:
        path = route.template.format(model="orders")
        if route.method == "GET":
            got, head = send(app, "GET", path), send(app, "HEAD", path)
            assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
        else:
            assert send(app, "HEAD", path).headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "template", "needs"),
    [
        ("/livez", "/livez", set()),
        ("/readyz", "/readyz", set()),
        ("/v2/health/live", "/v2/health/live", set()),
        ("/v2/health/ready", "/v2/health/ready", set()),
        ("/v2/models/orders/ready", "/v2/models/{model}/ready", {Access.SCORE, Access.MODEL}),
        ("/score", "/score", {Access.SCORE}),
        ("/generate", "/generate", {Access.SCORE}),
        ("/drill", "/drill", {Access.SCORE}),
        ("/v2/models/orders/infer", "/v2/models/{model}/infer", {Access.SCORE}),
        ("/model", "/model", {Access.MODEL}),
        ("/model/schema", "/model/schema", {Access.MODEL}),
        ("/models", "/models", {Access.MODEL}),
        ("/models/orders/score", "/models/{model}/score", {Access.SCORE}),
        ("/models/orders/shadow", "/models/{model}/shadow", {Access.MODEL}),
        ("/models/orders/promote", "/models/{model}/promote", {Access.ADMIN}),
        ("/models/orders/rollback", "/models/{model}/rollback", {Access.ADMIN}),
        ("/models//score", OTHER, set(Access)),
        ("/openapi.json", "/openapi.json", {Access.MODEL}),
        ("/docs", "/docs", set()),
        ("/docs/x", OTHER, set(Access)),
        ("/v2", "/v2", {Access.MODEL}),
        ("/v2/models/orders", "/v2/models/{model}", {Access.MODEL}),
        ("/metrics", "/metrics", {Access.METRICS}),
        ("/", "/", set()),
        ("/page.js", "/page.js", set()),
        ("/live.json", "/live.json", {Access.METRICS}),
        ("/page/", OTHER, set(Access)),
        ("/score/", OTHER, set(Access)),
        ("/livez/", OTHER, set(Access)),
        ("//livez", OTHER, set(Access)),
        ("/SCORE", OTHER, set(Access)),
        ("/v2/models//infer", OTHER, set(Access)),
        ("/v2/models/a/b/infer", OTHER, set(Access)),
        ("/v2/models/a/infer/", OTHER, set(Access)),
        ("/v2/health/live\n", OTHER, set(Access)),
    ],
)
def test_a_path_has_a_template_and_needs(path, template, needs):
    route = route_of(path)
    assert (route.template, route.scopes) == (template, needs)
