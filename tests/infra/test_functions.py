"""Every declared function is one Lambda that has what it declares, and no more."""

from fastn.http.registry import Registry
from fastn.platform.resources import Need, settings_of
from tests.infra.cloud_assembly import Assembly

DATABASE_NEEDS = {Need.DATABASE, Need.INGRESS_DATABASE, Need.RELAY_DATABASE}


def test_every_declared_function_is_one_lambda_and_nothing_else_is(assembly: Assembly) -> None:
    names = [resource.properties["FunctionName"] for resource in assembly.resources("AWS::Lambda::Function")]

    declared = [f"{assembly.installation}-{f.name.replace('_', '-')}" for f in assembly.registry.functions]
    assert sorted(names) == sorted(declared)


def test_a_function_has_the_handler_memory_and_timeout_it_declares(assembly: Assembly) -> None:
    for registered in assembly.registry.functions:
        properties = assembly.function_of(registered).properties

        assert properties["Handler"] == registered.file.removesuffix(".py") + ".handler"
        assert properties["MemorySize"] == registered.declaration.sizing.memory_mb
        assert properties["Timeout"] == registered.declaration.sizing.timeout_seconds
        assert properties["Runtime"] == "python3.13"


def test_the_environment_is_exactly_what_the_needs_bring(assembly: Assembly) -> None:
    for registered in assembly.registry.functions:
        variables = assembly.function_of(registered).properties["Environment"]["Variables"]

        assert set(variables) == {str(setting) for setting in settings_of(registered.declaration.needs)}


def test_no_two_functions_share_a_role(assembly: Assembly) -> None:
    functions = assembly.resources("AWS::Lambda::Function")

    roles = {(function.template, assembly.role_of(function).logical_id) for function in functions}

    assert len(roles) == len(functions)


def test_every_function_logs_to_a_group_of_its_own_that_expires(assembly: Assembly) -> None:
    for function in assembly.resources("AWS::Lambda::Function"):
        group = assembly.named(function.template, function.properties["LoggingConfig"]["LogGroup"]["Ref"])

        assert group.properties["LogGroupName"] == f"/aws/lambda/{function.properties['FunctionName']}"
        assert group.properties["RetentionInDays"] == 14


def test_every_function_is_traced(assembly: Assembly) -> None:
    for function in assembly.resources("AWS::Lambda::Function"):
        assert function.properties["TracingConfig"] == {"Mode": "Active"}


def test_the_code_of_a_function_is_its_one_file(assembly: Assembly) -> None:
    for registered in assembly.registry.functions:
        key = assembly.function_of(registered).properties["Code"]["S3Key"]
        packed = assembly.asset(key.removesuffix(".zip"))

        files = [file.relative_to(packed).as_posix() for file in packed.rglob("*") if file.is_file()]

        assert files == [registered.file]


def test_only_functions_with_the_engine_run_on_x86_64(on_aws: Assembly) -> None:
    architectures = {
        registered.name: on_aws.function_of(registered).properties["Architectures"]
        for registered in on_aws.registry.functions
    }

    on_intel = {name for name, architecture in architectures.items() if architecture == ["x86_64"]}
    assert on_intel == {"assemble_part", "polish_part"}
    assert all(architectures[name] == ["arm64"] for name in architectures.keys() - on_intel)


def test_functions_with_the_engine_have_its_layer_and_the_others_do_not(on_aws: Assembly) -> None:
    for registered in on_aws.registry.functions:
        layers = on_aws.function_of(registered).properties["Layers"]

        assert len(layers) == (3 if Need.ENGINE in registered.declaration.needs else 2)


def test_only_functions_beside_the_database_are_in_the_vpc(on_aws: Assembly) -> None:
    for registered in on_aws.registry.functions:
        properties = on_aws.function_of(registered).properties

        assert ("VpcConfig" in properties) == bool(registered.declaration.needs & DATABASE_NEEDS)


def test_no_layer_version_is_imported_from_another_stack(on_aws: Assembly) -> None:
    versions = {version.template for version in on_aws.resources("AWS::Lambda::LayerVersion")}
    outputs = [name for template in on_aws.templates.values() for name in template.get("Outputs", {})]

    assert versions == {"Api", "Engine", "Events"}
    assert not [name for name in outputs if "Layer" in name]


def test_the_tree_declares_every_need(tree_registry: Registry) -> None:
    declared = {need for function in tree_registry.functions for need in function.declaration.needs}

    assert declared == set(Need)
