"""Calls an endpoint as Lambda would."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fastn.http.endpoint import EndpointFunction
from tests.foundation.api_calls import LambdaContext
from tests.foundation.platforms import PlatformFor

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(platform_for: PlatformFor, lambda_context: LambdaContext) -> Call:
    """Calls an endpoint as Lambda would; one platform per endpoint, as in one process."""
    bound: dict[int, EndpointFunction[object]] = {}

    def _call(function: EndpointFunction[object], event: Mapping[str, Any]) -> dict[str, Any]:
        if id(function) not in bound:
            bound[id(function)] = function.bound_to(platform_for(function.declaration.needs))
        return bound[id(function)](event, lambda_context)

    return _call
