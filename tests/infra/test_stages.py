"""What the local stage leaves out, what AWS gets, and what an operator's choices change."""

import json
from typing import Any

import pytest

from fastn.http.registry import Registry
from fastn.platform.resources import Setting
from infra_cdk.configuration import InstallationConfiguration
from tests.infra.cloud_assembly import Assembly, texts_in
from tests.infra.conftest import TREE, Synthesize

LOCAL_PARAMETERS = {
    "DatabaseUrl": True,
    "IngressDatabaseUrl": True,
    "RelayDatabaseUrl": True,
    "TenantDatabaseUrl": True,
    "EngineDirectory": False,
    "PublicUrl": False,
}
OUTPUTS_OF_STACK = {
    "Api": {"ApiId", "ApiUrl"},
    "Engine": {"StandardStateMachineArn", "LongStateMachineArn"},
    "Storage": {"TriggerTableName", "MarkerTableName", "StateTableName", "TenantKeyArn"},
    "Messaging": {
        "EventBusName",
        "RelayQueueUrl",
        "RawEventQueueUrl",
        *(f"EventQueueUrlP{n}" for n in range(1, 5)),
        *(f"EventDeadLetterQueueUrlP{n}" for n in range(1, 5)),
    },
}


def kinds_of(assembly: Assembly) -> set[str]:
    return {body["Type"] for template in assembly.templates.values() for body in template["Resources"].values()}


@pytest.mark.parametrize("name", ["on_laptop", "product_on_laptop"])
def test_the_local_stage_has_no_network_no_database_and_no_layers(name: str, request: pytest.FixtureRequest) -> None:
    assembly: Assembly = request.getfixturevalue(name)

    absent = ("AWS::EC2::", "AWS::RDS::", "AWS::Lambda::LayerVersion")
    assert not {kind for kind in kinds_of(assembly) if kind.startswith(absent)}
    assert all("VpcConfig" not in f.properties for f in assembly.resources("AWS::Lambda::Function"))


def test_the_local_stage_takes_its_urls_as_parameters_and_hides_the_secret_ones(on_laptop: Assembly) -> None:
    top_level = {name: on_laptop.templates[name] for name in ("Api", "Events", "Engine")}
    declared = {
        name: parameter.get("NoEcho", False)
        for template in top_level.values()
        for name, parameter in template["Parameters"].items()
        if name != "BootstrapVersion"
    }

    assert declared == LOCAL_PARAMETERS


def test_a_local_function_reads_its_url_from_the_parameter(on_laptop: Assembly) -> None:
    function = on_laptop.function_of(on_laptop.registry.named("assemble_part"))

    variables = function.properties["Environment"]["Variables"]
    assert variables[Setting.DATABASE_URL] == {"Ref": "DatabaseUrl"}
    assert variables[Setting.ENGINE_DIRECTORY] == {"Ref": "EngineDirectory"}


def test_on_aws_a_url_names_its_role_and_carries_no_password(on_aws: Assembly) -> None:
    variables = on_aws.function_of(on_aws.registry.named("move_parts")).properties["Environment"]["Variables"]

    head, _host, tail = variables[Setting.RELAY_DATABASE_URL]["Fn::Join"][1]
    assert head == "postgresql://fastn_relay@"
    assert tail == ":5432/fastn?sslmode=require"


def test_on_aws_the_engine_lies_where_its_layer_puts_it(on_aws: Assembly) -> None:
    variables = on_aws.function_of(on_aws.registry.named("polish_part")).properties["Environment"]["Variables"]

    assert variables[Setting.ENGINE_DIRECTORY] == "/opt/engine"


def test_the_database_pauses_is_encrypted_logs_in_by_iam_and_outlives_its_stack(on_aws: Assembly) -> None:
    (cluster,) = on_aws.resources("AWS::RDS::DBCluster")

    assert cluster.properties["ServerlessV2ScalingConfiguration"]["MinCapacity"] == 0
    assert cluster.properties["EngineVersion"].startswith("18.")
    assert cluster.properties["EnableIAMDatabaseAuthentication"] is True
    assert cluster.properties["StorageEncrypted"] is True
    assert cluster.properties["DeletionProtection"] is True
    assert cluster.properties["ManageMasterUserPassword"] is True
    assert cluster.body["DeletionPolicy"] == cluster.body["UpdateReplacePolicy"] == "Retain"


def test_only_the_functions_reach_the_database(on_aws: Assembly) -> None:
    (ingress,) = [r for r in on_aws.resources("AWS::EC2::SecurityGroupIngress") if r.template == "Data"]

    assert ingress.properties["FromPort"] == ingress.properties["ToPort"] == 5432
    assert any("FunctionsGroup" in text for text in texts_in(ingress.properties["SourceSecurityGroupId"]))


def test_tables_and_keys_outlive_their_stack_and_expire_what_is_old(on_aws: Assembly) -> None:
    tables = on_aws.resources("AWS::DynamoDB::Table")

    keys = {table.properties["KeySchema"][0]["AttributeName"] for table in tables}
    assert keys == {"trigger_id", "shard", "state_key", "run"}
    for table in tables:
        assert table.properties["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
        assert table.properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        assert table.properties["BillingMode"] == "PAY_PER_REQUEST"
        assert table.body["DeletionPolicy"] == "Retain"
    for key in on_aws.resources("AWS::KMS::Key"):
        assert key.properties["EnableKeyRotation"] is True
        assert key.body["DeletionPolicy"] == "Retain"


@pytest.mark.parametrize("name", ["on_aws", "product_on_aws"])
def test_nothing_that_costs_while_idle_is_there_by_default(name: str, request: pytest.FixtureRequest) -> None:
    assembly: Assembly = request.getfixturevalue(name)

    assert not {"AWS::EC2::NatGateway", "AWS::RDS::DBProxy"} & kinds_of(assembly)
    endpoints = [e.properties.get("VpcEndpointType") for e in assembly.resources("AWS::EC2::VPCEndpoint")]
    assert endpoints == ["Gateway", "Gateway"]
    assert [i.properties["InstanceType"] for i in assembly.resources("AWS::EC2::Instance")] == ["t4g.nano"]


def test_what_the_local_runtime_asks_for_is_an_output(assembly: Assembly) -> None:
    for stack, outputs in OUTPUTS_OF_STACK.items():
        assert outputs <= set(assembly.templates[stack]["Outputs"])


def test_synthesis_looks_nothing_up_in_an_account(assembly: Assembly) -> None:
    manifest: dict[str, Any] = json.loads((assembly.directory / "manifest.json").read_text(encoding="utf-8"))

    assert "missing" not in manifest


def test_an_operators_choices_are_in_the_template(synthesize: Synthesize, tree_registry: Registry) -> None:
    chosen = synthesize(
        TREE,
        tree_registry,
        stage="red",
        nat="gateway",
        domain="api.example.com",
        certificate_arn="arn:aws:acm:eu-central-1:111122223333:certificate/c",
        account="111122223333",
        region="eu-central-1",
        log_retention_days=30,
    )

    assert "AWS::EC2::NatGateway" in kinds_of(chosen)
    assert chosen.resources("AWS::EC2::Instance") == []
    assert chosen.resources("AWS::ApiGatewayV2::DomainName")[0].properties["DomainName"] == "api.example.com"
    (variables,) = {
        function.properties["Environment"]["Variables"][Setting.PUBLIC_URL]
        for function in chosen.resources("AWS::Lambda::Function")
    }
    assert variables == "https://api.example.com"
    assert {group.properties["RetentionInDays"] for group in chosen.resources("AWS::Logs::LogGroup")} == {30}
    manifest = json.loads((chosen.directory / "manifest.json").read_text(encoding="utf-8"))
    assert "missing" not in manifest


@pytest.mark.parametrize(
    "choices",
    [
        {"stage": "Upper"},
        {"stage": "a-name-beyond-twenty-x"},
        {"domain": "api.example.com"},
        {"account": "111122223333"},
        {"nat": "free"},
        {"log_retention_days": 2},
        {"colour": "blue"},
    ],
)
def test_choices_that_make_no_sense_are_refused(choices: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        InstallationConfiguration.model_validate(choices)
