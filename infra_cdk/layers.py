"""The layers a stack's functions run on.

Each top-level stack has layer versions of its own: a new version is a new resource, and CloudFormation refuses to
replace one that another stack imports. The local stage has none, since the fork server serves the source tree.
"""

from pathlib import Path

from aws_cdk import AssetHashType
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from fastn.platform.resources import Need
from infra_cdk.layer_build import Architecture, LayerArchives, require_room
from infra_cdk.names import pascal_case


def architecture_of(needs: frozenset[Need]) -> Architecture:
    """arm64, unless the function needs the engine, whose machine code is compiled for x86-64."""
    return Architecture.X86_64 if Need.ENGINE in needs else Architecture.ARM64


LAMBDA_ARCHITECTURE: dict[Architecture, lambda_.Architecture] = {
    Architecture.ARM64: lambda_.Architecture.ARM_64,
    Architecture.X86_64: lambda_.Architecture.X86_64,
}


class LayerShelf(Construct):
    """The layer versions of one stack, each built and declared when the first function asks for it."""

    def __init__(self, scope: Construct, archives: LayerArchives) -> None:
        super().__init__(scope, "Layers")
        self._archives = archives
        self._versions: dict[str, lambda_.ILayerVersion] = {}

    def layers_for(self, needs: frozenset[Need]) -> list[lambda_.ILayerVersion]:
        """Dependencies and library, and the engine for who needs it. Raises LayersTooLarge beyond Lambda's quota."""
        architecture = architecture_of(needs)
        archives = {
            f"dependencies-{architecture.processor}": self._archives.dependencies(architecture),
            "fastn": self._archives.library(),
        }
        if Need.ENGINE in needs:
            archives["engine"] = self._archives.engine()
        require_room(list(archives.values()))
        return [self._version(name, archive) for name, archive in archives.items()]

    def _version(self, name: str, archive: Path) -> lambda_.ILayerVersion:
        if name not in self._versions:
            self._versions[name] = lambda_.LayerVersion(
                self,
                pascal_case(name),
                # The file's name is its content's hash already.
                code=lambda_.Code.from_asset(
                    str(archive), asset_hash=archive.stem, asset_hash_type=AssetHashType.CUSTOM
                ),
                compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
                description=f"{name}, built from the checkout",
            )
        return self._versions[name]
