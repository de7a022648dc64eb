"""The CDK context becomes the typed configuration."""

from aws_cdk import App

from infra_cdk.configuration import InstallationConfiguration, Nat
from infra_cdk.context import configuration_from


def test_context_keys_are_camel_case_and_lists_take_commas() -> None:
    context = {
        "stage": "staging",
        "alarmEmail": "a@example.com",
        "nat": "none",
        "corsOrigins": "https://a.example,https://b.example",
        "databaseMaxCapacityUnits": "8",
    }
    app = App(context=context, analytics_reporting=False)

    configuration = configuration_from(app.node)

    assert configuration == InstallationConfiguration(
        stage="staging",
        alarm_email="a@example.com",
        nat=Nat.NONE,
        cors_origins=("https://a.example", "https://b.example"),
        database_max_capacity_units=8,
    )


def test_an_empty_context_is_the_default_installation() -> None:
    app = App(analytics_reporting=False)

    assert configuration_from(app.node) == InstallationConfiguration()
