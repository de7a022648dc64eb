"""The HTTP API: one route, one Lambda, for every endpoint the tree declares.

Each resource domain has a nested stack from the start. A function that moved into one later would be created
before its predecessor is deleted, and its name would be taken.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping

from aws_cdk import CfnOutput, Duration, NestedStack, RemovalPolicy, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_certificatemanager as certificates
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from fastn.http.declarations import EndpointDeclaration, Method
from fastn.http.registry import RegisteredFunction
from infra_cdk.checks import acknowledge
from infra_cdk.configuration import InstallationConfiguration
from infra_cdk.names import pascal_case
from infra_cdk.platform_function import RETENTION_OF_DAYS, FunctionFactory

FUNCTIONS_PER_STACK = 55
"""CloudFormation takes 500 resources a stack; a function with its route has seven at most."""
ROUTES_PER_API = 300
"""HTTP APIs take 300 routes unless AWS raises the quota."""
CORS_METHODS = (Method.GET, Method.POST, Method.PUT, Method.PATCH, Method.DELETE)
CORS_REQUEST_HEADERS = (
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "x-fastn-access-key",
    "x-fastn-account-id",
    "x-fastn-account-tenant-id",
    "x-fastn-api-key",
    "x-fastn-custom-auth",
    "x-fastn-space-id",
    "x-fastn-space-tenantid",
)
CORS_RESPONSE_HEADERS = ("etag", "retry-after", "x-request-id")
TENANT_FOLDERS = ("tenants", "tenant_id")
ACCESS_LOG_FIELDS = {
    "requestId": "$context.requestId",
    "routeKey": "$context.routeKey",
    "status": "$context.status",
    "sourceIp": "$context.identity.sourceIp",
    "latencyMs": "$context.responseLatency",
    "responseBytes": "$context.responseLength",
    "integrationError": "$context.integrationErrorMessage",
}
BURST_REQUESTS = 2_000
REQUESTS_PER_SECOND = 1_000


class TooManyFunctions(ValueError):
    """A domain or the API outgrew what AWS takes; the message names it and says what to do."""


class FrontDoor(Construct):
    """The HTTP API itself, its domain name, CORS, throttling and access log; routes come from the domains."""

    def __init__(self, scope: Construct, configuration: InstallationConfiguration) -> None:
        super().__init__(scope, "FrontDoor")
        self._configuration = configuration
        self.api = apigateway.HttpApi(
            self,
            "HttpApi",
            api_name=f"{configuration.stage}-api",
            create_default_stage=False,
            cors_preflight=apigateway.CorsPreflightOptions(
                allow_origins=list(configuration.cors_origins),
                allow_methods=[apigateway.CorsHttpMethod[method] for method in CORS_METHODS],
                allow_headers=list(CORS_REQUEST_HEADERS),
                expose_headers=list(CORS_RESPONSE_HEADERS),
                max_age=Duration.hours(1),
            ),
        )
        self.url = self._address()
        self.stage = apigateway.CfnStage(
            self,
            "Stage",
            api_id=self.api.api_id,
            stage_name="$default",
            auto_deploy=True,
            default_route_settings=apigateway.CfnStage.RouteSettingsProperty(
                throttling_burst_limit=BURST_REQUESTS, throttling_rate_limit=REQUESTS_PER_SECOND
            ),
            access_log_settings=apigateway.CfnStage.AccessLogSettingsProperty(
                destination_arn=self._access_log().log_group_arn, format=json.dumps(ACCESS_LOG_FIELDS)
            ),
        )
        self._map_domain()

    def _address(self) -> str:
        if self._configuration.domain is not None:
            return f"https://{self._configuration.domain}"
        return self.api.api_endpoint

    def _access_log(self) -> logs.LogGroup:
        return logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=f"/aws/apigateway/{self._configuration.stage}-api",
            retention=RETENTION_OF_DAYS[self._configuration.log_retention_days],
            removal_policy=RemovalPolicy.DESTROY,
        )

    def _map_domain(self) -> None:
        if self._configuration.domain is None or self._configuration.certificate_arn is None:
            return
        certificate = certificates.Certificate.from_certificate_arn(
            self, "Certificate", self._configuration.certificate_arn
        )
        domain = apigateway.DomainName(self, "Domain", domain_name=self._configuration.domain, certificate=certificate)
        mapping = apigateway.CfnApiMapping(
            self, "Mapping", api_id=self.api.api_id, domain_name=domain.name, stage=self.stage.ref
        )
        mapping.node.add_dependency(self.stage)
        CfnOutput(Stack.of(self), "DomainTarget", value=domain.regional_domain_name)


class Route(Construct):
    """One route key, answered by one Lambda."""

    def __init__(
        self, scope: Construct, name: str, *, api: apigateway.IHttpApi, route_key: str, function: lambda_.IFunction
    ) -> None:
        super().__init__(scope, name)
        stack = Stack.of(self)
        integration = apigateway.CfnIntegration(
            self,
            "Integration",
            api_id=api.api_id,
            integration_type="AWS_PROXY",
            integration_uri=function.function_arn,
            payload_format_version="2.0",
        )
        route = apigateway.CfnRoute(
            self, "Route", api_id=api.api_id, route_key=route_key, target=f"integrations/{integration.ref}"
        )
        acknowledge(
            route,
            "APIG4",
            "The wrapper around every handler authenticates; a gateway authorizer would cache one tenant for another.",
        )
        lambda_.CfnPermission(
            self,
            "Permission",
            action="lambda:InvokeFunction",
            function_name=function.function_arn,
            principal="apigateway.amazonaws.com",
            source_arn=f"arn:{stack.partition}:execute-api:{stack.region}:{stack.account}:{api.api_id}/*/*",
        )


class EndpointDomain(NestedStack):
    """The endpoints of one resource: `workflows`, `credentials`, …"""

    def __init__(
        self,
        scope: Construct,
        domain: str,
        *,
        front_door: FrontDoor,
        factory: FunctionFactory,
        endpoints: Iterable[tuple[RegisteredFunction, EndpointDeclaration]],
    ) -> None:
        super().__init__(scope, pascal_case(domain))
        for registered, declaration in endpoints:
            function = factory.make(self, registered)
            Route(
                self,
                f"{pascal_case(registered.name)}Route",
                api=front_door.api,
                route_key=declaration.route,
                function=function,
            )


def add_endpoints(
    stack: Stack,
    front_door: FrontDoor,
    factory: FunctionFactory,
    endpoints: list[tuple[RegisteredFunction, EndpointDeclaration]],
) -> None:
    """Declares every endpoint in the nested stack of its domain. Raises TooManyFunctions beyond a guard."""
    if len(endpoints) >= ROUTES_PER_API:
        raise TooManyFunctions(f"{len(endpoints)} routes: one HTTP API takes fewer than {ROUTES_PER_API}")
    for domain, members in sorted(domains_of(endpoints).items()):
        if len(members) > FUNCTIONS_PER_STACK:
            raise TooManyFunctions(f"{domain} has {len(members)} endpoints, more than {FUNCTIONS_PER_STACK}: divide it")
        EndpointDomain(stack, domain, front_door=front_door, factory=factory, endpoints=members)
    CfnOutput(stack, "ApiId", value=front_door.api.api_id)
    CfnOutput(stack, "ApiUrl", value=front_door.url)


def domains_of(
    endpoints: Iterable[tuple[RegisteredFunction, EndpointDeclaration]],
) -> Mapping[str, list[tuple[RegisteredFunction, EndpointDeclaration]]]:
    """The endpoints by resource: the first folder below `api` or below a tenant; else the room itself."""
    domains: dict[str, list[tuple[RegisteredFunction, EndpointDeclaration]]] = defaultdict(list)
    for registered, declaration in endpoints:
        domains[_domain_of(registered.file)].append((registered, declaration))
    return domains


def _domain_of(file: str) -> str:
    room, *folders = file.split("/")[1:-1]
    if tuple(folders[:2]) == TENANT_FOLDERS and len(folders) > len(TENANT_FOLDERS):
        folders = folders[2:]
    return folders[0] if folders else room
