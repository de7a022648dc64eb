"""Reads the CDK context into the typed configuration."""

from typing import cast

from constructs import Node

from infra_cdk.configuration import InstallationConfiguration


def configuration_from(node: Node) -> InstallationConfiguration:
    """The configuration in this context, whose keys are camelCase: `-c stage=staging -c alarmEmail=…`.

    Raises pydantic's ValidationError for a value out of bounds.
    """
    values: dict[str, object] = {}
    for field in InstallationConfiguration.model_fields:
        head, *rest = field.split("_")
        given = cast(object, node.try_get_context(head + "".join(part.capitalize() for part in rest)))
        if given is not None:
            values[field] = given.split(",") if field == "cors_origins" and isinstance(given, str) else given
    return InstallationConfiguration.model_validate(values)
