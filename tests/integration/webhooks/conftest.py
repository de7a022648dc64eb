"""The cloud, the functions in it, and the customers these tests speak of."""

from tests.integration.events.cloud import cloud, functions, pipeline_clients, projection
from tests.integration.events.scene import default_scene, scene, stranger

__all__ = ["cloud", "default_scene", "functions", "pipeline_clients", "projection", "scene", "stranger"]
