"""The cloud and the calls of these tests."""

from tests.integration.triggers.cloud import aws_clients, call, cloud

__all__ = ["aws_clients", "call", "cloud"]
