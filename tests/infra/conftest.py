"""Synthesizes each installation once per session; layers are stand-ins, so nothing is downloaded."""

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aws_cdk import App

from fastn.http.registry import Registry, load_registry
from infra_cdk.checks import validate_with_cdk_nag
from infra_cdk.configuration import InstallationConfiguration
from infra_cdk.installation import Sources, compose
from infra_cdk.layer_build import Architecture
from tests.infra.cloud_assembly import Assembly

CHECKOUT = Path(__file__).resolve().parents[2]
TREE = Path(__file__).parent / "tree"

Synthesize = Callable[..., Assembly]


@dataclass(frozen=True, slots=True)
class StandInLayers:
    """Layers with one file each."""

    directory: Path

    def dependencies(self, architecture: Architecture) -> Path:
        return self._archive(f"dependencies-{architecture.processor}")

    def library(self) -> Path:
        return self._archive("fastn")

    def engine(self) -> Path:
        return self._archive("engine")

    def _archive(self, name: str) -> Path:
        archive = self.directory / f"{name}.zip"
        if not archive.exists():
            with zipfile.ZipFile(archive, "w") as opened:
                opened.writestr(f"python/{name}.txt", name)
        return archive


@pytest.fixture(scope="session")
def tree_registry() -> Iterator[Registry]:
    """The functions of the small tree in this folder: every kind, and every need, at least once."""
    sys.path.insert(0, str(TREE))
    yield load_registry(TREE)
    sys.path.remove(str(TREE))


@pytest.fixture(scope="session")
def synthesize(tmp_path_factory: pytest.TempPathFactory) -> Synthesize:
    """Composes and writes an installation of the given functions."""

    def make(root: Path, registry: Registry, *, checked: bool = False, **choices: object) -> Assembly:
        work = tmp_path_factory.mktemp("installation")
        shutil.copytree(CHECKOUT / "statemachines", work / "statemachines")
        shutil.copytree(root / "functions", work / "functions")
        configuration = InstallationConfiguration.model_validate(choices)
        context = json.loads((CHECKOUT / "cdk.json").read_text(encoding="utf-8"))["context"]
        app = App(outdir=str(work / "out"), context=context, analytics_reporting=False)
        layers = StandInLayers(work)
        compose(app, configuration, Sources(root=work, staging=work / "staged", registry=registry, layers=layers))
        if checked:
            validate_with_cdk_nag(app)
        app.synth()
        return Assembly(work / "out", configuration.stage, registry)

    return make


@pytest.fixture(scope="session")
def on_aws(synthesize: Synthesize, tree_registry: Registry) -> Assembly:
    """The small tree as it is deployed to AWS, having passed cdk-nag."""
    return synthesize(TREE, tree_registry, checked=True, stage="blue", alarm_email="alarms@example.com")


@pytest.fixture(scope="session")
def on_laptop(synthesize: Synthesize, tree_registry: Registry) -> Assembly:
    """The small tree as the embedded runtime deploys it."""
    return synthesize(TREE, tree_registry, stage="local")


@pytest.fixture(scope="session")
def product_on_aws(synthesize: Synthesize) -> Assembly:
    """The product's own functions as they are deployed to AWS."""
    return synthesize(CHECKOUT, load_registry(CHECKOUT), stage="green")


@pytest.fixture(scope="session")
def product_on_laptop(synthesize: Synthesize) -> Assembly:
    """The product's own functions as the embedded runtime deploys them."""
    return synthesize(CHECKOUT, load_registry(CHECKOUT), stage="local")


@pytest.fixture(params=["on_aws", "on_laptop", "product_on_aws", "product_on_laptop"])
def assembly(request: pytest.FixtureRequest) -> Assembly:
    """Each installation in turn."""
    found: Assembly = request.getfixturevalue(request.param)
    return found
