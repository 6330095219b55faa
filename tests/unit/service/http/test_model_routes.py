"""GET /model, /model/schema and /openapi.json: what a client can learn about the model."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from vaegis.service.http.generate import GenerateRequest
from vaegis.service.http.page.live_page import LiveAnswer
from vaegis.service.http.schemas import (
    Answer,
    ModelAnswer,
    RefusedItem,
    ResultItem,
    ScoreAnswer,
    record_schema,
)


@pytest.fixture
def document(new_app, send):
    return send(new_app(), "GET", "/openapi.json").json()


def test_the_model_is_described_without_its_weights_and_scores(new_app, send, artifact):
    response = send(new_app(alpha=0.1), "GET", "/model")
    answer = ModelAnswer.model_validate_json(response.content)
    assert answer.model_digest == f"sha256:{artifact.digest}"
    assert (answer.alpha, answer.calibration.alpha) == (0.1, artifact.contract.calibration.alpha)
    assert answer.schema_ == artifact.contract.columns
    assert answer.provenance == artifact.contract.provenance
    assert artifact.contract.generator.model not in response.text
    assert answer.calibration.folds == len(artifact.contract.calibration.folds)
    assert answer.calibration.records == artifact.contract.calibration.records
    assert answer.calibration.guarantee.startswith("At alpha 0.1, a normal record is flagged")


def test_the_record_schema_has_the_columns_of_the_model(new_app, send, artifact):
    response = send(new_app(), "GET", "/model/schema")
    assert response.headers["content-type"] == "application/schema+json"
    schema = response.json()
    columns = artifact.contract.columns
    assert set(schema["properties"]) == {*columns.names, *(column.name for column in columns.ignored)}
    assert schema["additionalProperties"] is False
    # No pattern for numbers in text: "NA" is one of the texts that are read.
    assert schema["properties"]["amount"].keys() == {"type", "description"}
    assert schema["properties"]["amount"]["type"] == ["number", "string", "null"]
    assert schema["properties"]["country"]["examples"] == list(
        columns.columns[columns.names.index("country")].categories
    )


def test_the_record_schema_allows_what_the_settings_allow(new_app, send):
    schema = send(new_app(unknown_columns="ignore"), "GET", "/model/schema").json()
    assert schema["additionalProperties"] is True


def test_the_record_schema_takes_dotted_columns_nested_as_well(artifact):
    columns = artifact.contract.columns
    renamed = columns.columns[0].model_copy(update={"name": "order.amount"})
    schema = columns.model_copy(update={"columns": (renamed, *columns.columns[1:])})
    contract = artifact.contract.model_copy(update={"columns": schema})
    properties = record_schema(contract, "reject")["properties"]
    assert properties["order"]["type"] == ["object", "null"]
    assert properties["order.amount"]["type"] == ["number", "string", "null"]


def test_openapi_shows_the_columns_of_the_model_in_the_request(document, artifact):
    content = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"]["anyOf"][0] == {"$ref": "#/components/schemas/Record"}
    properties = document["components"]["schemas"]["Record"]["properties"]
    assert set(artifact.contract.columns.names) <= set(properties)


def test_the_example_request_gets_the_example_answer(document, new_app, send):
    operation = document["paths"]["/score"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    answer = operation["responses"]["200"]["content"]["application/json"]["example"]
    for name in ("one", "list", "columns"):
        assert send(new_app(), "POST", "/score?explain=all", json=examples[name]["value"]).json() == answer
    ScoreAnswer.model_validate(answer)


def test_the_example_of_generation_is_a_valid_request(document):
    content = document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]
    GenerateRequest.model_validate(content["example"])


def test_openapi_lists_every_route_with_a_description(document):
    assert set(document["paths"]) == {
        "/score",
        "/models/{model}/score",
        "/generate",
        "/drill",
        "/model",
        "/models",
        "/models/{model}/shadow",
        "/models/{model}/promote",
        "/models/{model}/rollback",
        "/model/schema",
        "/livez",
        "/readyz",
        "/metrics",
        "/live.json",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{model}",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}",
        "/v2/models/{model}/versions/{version}/ready",
        "/v2/models/{model}/versions/{version}/infer",
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["description"]


def test_every_operation_has_one_tag_and_every_tag_is_described_and_used(document):
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert all(described.values())
    tags = [operation["tags"] for operations in document["paths"].values() for operation in operations.values()]
    assert {len(each) for each in tags} == {1}
    assert {each[0] for each in tags} == set(described)


def test_every_answer_in_json_has_an_example_that_its_schema_allows(document, new_app, send):
    definitions = document["components"]["schemas"]
    answers = {kind.__name__: kind for kind in Answer.__subclasses__()}
    seen = set()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            answer = operation["responses"]["200"]["content"].get("application/json", {})
            if "$ref" not in answer.get("schema", {}):
                continue
            name = answer["schema"]["$ref"].rpartition("/")[2]
            example = answer.get("example") or definitions[name]["examples"][0]
            answers[name].model_validate_json(json.dumps(example))
            seen.add(path)
    assert seen == set(document["paths"]) - {"/metrics", "/model/schema"}
    infer = document["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert send(new_app(), "POST", "/v2/models/orders/infer", json=infer["example"]).status_code == 200


def test_the_counts_of_the_live_page_are_as_the_schema_says(new_app, send, record):
    app = new_app()
    send(app, "POST", "/score", json=[record, record])
    assert LiveAnswer.model_validate_json(send(app, "GET", "/live.json").content, strict=True).records.scored == 2
    assert "/live.json" not in send(new_app(page=False), "GET", "/openapi.json").json()["paths"]


def test_openapi_has_the_prefix_that_a_proxy_takes_off(document, new_app, send):
    assert document["servers"] == [{"url": "/"}]
    behind = send(new_app(root_path="/vaegis"), "GET", "/openapi.json").json()
    assert behind["servers"] == [{"url": "/vaegis"}]


def test_openapi_names_each_operation_once_and_every_array_has_items(document):
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)

    def arrays(node):
        if isinstance(node, dict):
            if "type" in node and "array" in node["type"]:
                yield node
            node = list(node.values())
        if isinstance(node, list):
            for part in node:
                yield from arrays(part)

    assert all({"items", "prefixItems"} & array.keys() for array in arrays(document))
    properties = document["components"]["schemas"]["Record"]["properties"]
    assert properties["express"]["type"] == ["boolean", "integer", "string", "null"]


def test_an_answer_with_reported_records_is_as_the_schema_says(new_app, send, record):
    app = new_app()
    answer = send(app, "POST", "/score?on_invalid=report", json=[record, {"amount": "many"}]).json()
    sound, refused = ScoreAnswer.model_validate(answer).results
    assert (type(sound), type(refused)) == (ResultItem, RefusedItem)
    assert refused.errors[0].column == "amount"
    answer["results"][1]["score"] = 1.0
    with pytest.raises(ValidationError, match="score"):
        ScoreAnswer.model_validate(answer)


def test_openapi_lists_the_problems_of_each_route_and_resolves_its_references(document):
    responses = document["paths"]["/score"]["post"]["responses"]
    assert set(responses) == {"200", "400", "403", "406", "408", "413", "415", "422", "429", "500", "503", "504"}
    assert set(responses["422"]["content"]) == {"application/problem+json"}
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas

    def references(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            node = list(node.values())
        if isinstance(node, list):
            for part in node:
                yield from references(part)

    assert set(references(document)) <= {f"#/components/schemas/{name}" for name in schemas}
