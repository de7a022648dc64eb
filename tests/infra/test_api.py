"""Every declared route reaches its own Lambda, within what AWS takes."""

from types import SimpleNamespace
from typing import cast

import pytest

from fastn.http.declarations import EndpointDeclaration
from fastn.http.registry import RegisteredFunction
from infra_cdk.api import FUNCTIONS_PER_STACK, ROUTES_PER_API, FrontDoor, TooManyFunctions, add_endpoints, domains_of
from infra_cdk.platform_function import FunctionFactory
from tests.infra.cloud_assembly import Assembly

RESOURCES_PER_STACK = 450


def test_the_routes_are_the_declared_ones(assembly: Assembly) -> None:
    routes = [route.properties["RouteKey"] for route in assembly.resources("AWS::ApiGatewayV2::Route")]

    assert sorted(routes) == sorted(declaration.route for _, declaration in assembly.registry.endpoints())


def test_a_route_is_answered_by_the_function_that_declares_it(assembly: Assembly) -> None:
    declared = {declaration.route: registered for registered, declaration in assembly.registry.endpoints()}
    for route in assembly.resources("AWS::ApiGatewayV2::Route"):
        parts = route.properties["Target"]["Fn::Join"][1]
        integration = assembly.named(route.template, parts[1]["Ref"])
        function = assembly.named(route.template, integration.properties["IntegrationUri"]["Fn::GetAtt"][0])

        expected = assembly.function_of(declared[route.properties["RouteKey"]])
        assert function == expected
        assert integration.properties["PayloadFormatVersion"] == "2.0"


def test_the_gateway_may_call_every_function_with_a_route_and_no_other(assembly: Assembly) -> None:
    callable_functions = {
        (permission.template, permission.properties["FunctionName"]["Fn::GetAtt"][0])
        for permission in assembly.resources("AWS::Lambda::Permission")
        if permission.properties["Principal"] == "apigateway.amazonaws.com"
    }

    functions = [assembly.function_of(registered) for registered, _ in assembly.registry.endpoints()]
    assert callable_functions == {(function.template, function.logical_id) for function in functions}


def test_browsers_may_send_the_headers_of_both_families_and_no_cookies(assembly: Assembly) -> None:
    (api,) = assembly.resources("AWS::ApiGatewayV2::Api")
    cors = api.properties["CorsConfiguration"]

    spellings = {"x-fastn-api-key", "x-fastn-access-key", "x-fastn-space-id", "x-fastn-account-id"}
    tenants = {"x-fastn-space-tenantid", "x-fastn-account-tenant-id", "x-fastn-custom-auth"}
    assert (spellings | tenants) <= set(cors["AllowHeaders"])
    assert "*" not in cors["AllowHeaders"]
    assert "AllowCredentials" not in cors


def test_the_api_is_throttled_and_keeps_an_access_log(assembly: Assembly) -> None:
    (stage,) = assembly.resources("AWS::ApiGatewayV2::Stage")

    assert stage.properties["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
    assert "DestinationArn" in stage.properties["AccessLogSettings"]


def test_a_stack_stays_below_its_limit_of_resources(assembly: Assembly) -> None:
    counts = {name: len(template["Resources"]) for name, template in assembly.templates.items()}

    assert max(counts.values()) < RESOURCES_PER_STACK, counts


def test_a_full_domain_would_stay_below_the_limit_of_resources(assembly: Assembly) -> None:
    for name, template in assembly.templates.items():
        kinds = [body["Type"] for body in template["Resources"].values()]
        if "AWS::ApiGatewayV2::Route" in kinds:
            per_function = len(kinds) / kinds.count("AWS::Lambda::Function")
            assert per_function * FUNCTIONS_PER_STACK < RESOURCES_PER_STACK, name


def test_endpoints_are_grouped_by_their_resource() -> None:
    files = {
        "functions/api/tenants/tenant_id/workflows/workflow_id/get_workflow.py": "workflows",
        "functions/api/tenants/list_tenants.py": "tenants",
        "functions/api/tenants/tenant_id/get_tenant.py": "tenants",
        "functions/api/connectors/list_connectors.py": "connectors",
        "functions/webhooks/receive_webhook.py": "webhooks",
        "functions/gateways/not_found.py": "gateways",
    }

    grouped = {
        registered.file: domain
        for domain, members in domains_of([_endpoint(file) for file in files]).items()
        for registered, _ in members
    }

    assert grouped == files


@pytest.mark.parametrize(
    ("files", "culprit"),
    [
        ([f"functions/api/gadgets/make_{n}.py" for n in range(FUNCTIONS_PER_STACK + 1)], "gadgets has 56"),
        ([f"functions/api/gadgets_{n}/make_{n}.py" for n in range(ROUTES_PER_API)], "300 routes"),
    ],
)
def test_more_endpoints_than_aws_takes_are_refused_before_anything_is_made(files: list[str], culprit: str) -> None:
    nothing = SimpleNamespace()

    with pytest.raises(TooManyFunctions, match=culprit):
        add_endpoints(
            cast("object", nothing),  # pyright: ignore[reportArgumentType]  # refused before the stack is touched
            cast(FrontDoor, nothing),
            cast(FunctionFactory, nothing),
            [_endpoint(file) for file in files],
        )


def _endpoint(file: str) -> tuple[RegisteredFunction, EndpointDeclaration]:
    return cast("tuple[RegisteredFunction, EndpointDeclaration]", (SimpleNamespace(file=file), SimpleNamespace()))
