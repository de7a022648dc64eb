"""cdk-nag's AwsSolutions rules over the whole app; a finding that is meant is acknowledged beside its construct."""

from typing import cast

from aws_cdk import Acknowledgment, App, IPolicyValidationPlugin, Validations
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct


def validate_with_cdk_nag(app: App) -> None:
    """Makes synthesis fail for every finding that nobody acknowledged."""
    acknowledge(
        app,
        "L1",
        "Python 3.13 is the platform's runtime: layers are locked and compiled for it, and moving on is a release.",
    )
    # jsii's classes and interfaces differ in the names of parameters, which pyright minds.
    Validations.of(app).add_plugins(cast(IPolicyValidationPlugin, AwsSolutionsChecks(app)))


def acknowledge(construct: object, rule: str, reason: str) -> None:
    """Accepts one AwsSolutions finding (`IAM5[Resource::*]`) on this construct and what it contains."""
    acknowledgment = Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason)
    Validations.of(cast(IConstruct, construct)).acknowledge(acknowledgment)
