"""The product on the embedded runtime, with the stand-in for Slack, once for the whole folder."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastn.local.demo.api import ApiCaller
from fastn.local.demo.performance import SLACK_HOST
from fastn.local.installation import Installation
from fastn.local.vendors.slack import SlackVendor
from fastn.platform.capabilities import Platform
from tests.load.scene import Scene, set_scene

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class House:
    """The running product and what a test may look at."""

    platform: Platform
    scene: Scene
    slack: SlackVendor
    caller: ApiCaller


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, engine_directory: Path) -> Iterator[House]:
    assert engine_directory.is_dir()
    with SlackVendor() as slack:
        installation = Installation(
            CHECKOUT,
            loopback_routes={SLACK_HOST: slack.port},
            report=lambda _line: None,
            state_directory=tmp_path_factory.mktemp("house"),
        )
        runtime = installation.runtime()
        with runtime as endpoints, closing(installation.platform(endpoints)) as platform:
            scene = set_scene(platform, endpoints.api_url)
            with closing(scene.caller()) as caller:
                yield House(platform, scene, slack, caller)
        runtime.erase()
