"""Roles whose one inline policy says all they may do."""

from collections.abc import Mapping, Sequence
from typing import cast

from aws_cdk import aws_iam as iam
from constructs import Construct

NO_CONDITIONS: Mapping[str, object] = {}


def service_role(
    scope: Construct,
    name: str,
    *,
    service: str,
    statements: Sequence[iam.PolicyStatement],
    conditions: Mapping[str, object] = NO_CONDITIONS,
) -> iam.Role:
    """A role that this AWS service may take, under these conditions, with these statements and no others."""
    principal = iam.ServicePrincipal(service, conditions=dict(conditions) or None)
    return iam.Role(
        scope,
        name,
        # jsii's classes and interfaces differ in the names of parameters, which pyright minds.
        assumed_by=cast(iam.IPrincipal, principal),
        inline_policies={"needs": iam.PolicyDocument(statements=list(statements))},
    )
