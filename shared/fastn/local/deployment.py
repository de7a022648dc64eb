"""Deploys a synthesized cloud assembly (cdk.out) to the emulator: what `cdk deploy` does, without Node."""

import io
import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastn.local.errors import DeployFailed

BOOTSTRAP_VERSION = "30"
POLL_SECONDS = 0.03
STACK_TIMEOUT_SECONDS = 180.0
_LAYER_PLACEHOLDER = "served-from-the-checkout"


class AssemblyDeployment:
    """One assembly against one endpoint; `run` may be repeated, and then updates the stacks."""

    def __init__(self, assembly: Path, endpoint_url: str, *, region: str = "us-east-1") -> None:
        self._assembly = assembly
        self._endpoint_url = endpoint_url
        self._region = region
        self._clients: dict[str, Any] = {}
        self._buckets: set[str] = set()
        self._published: set[str] = set()
        self._account_id = ""

    def run(self, parameters: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """The outputs per stack name. A stack gets those of `parameters` that its template declares.

        Raises DeployFailed with the first failed resource and its reason.
        """
        self._account_id = self._client("sts").get_caller_identity()["Account"]
        self._client("ssm").put_parameter(
            Name="/cdk-bootstrap/hnb659fds/version", Value=BOOTSTRAP_VERSION, Type="String", Overwrite=True
        )
        outputs: dict[str, dict[str, str]] = {}
        for directory in _assemblies(self._assembly):
            manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
            artifacts: dict[str, dict[str, Any]] = manifest.get("artifacts", {})
            layers = _layer_objects(directory)
            for name in _in_dependency_order(artifacts):
                artifact = artifacts[name]
                if artifact["type"] == "cdk:asset-manifest":
                    self._publish(directory, artifact["properties"]["file"], layers)
                elif artifact["type"] == "aws:cloudformation:stack":
                    stack_name = artifact["properties"].get("stackName", name)
                    outputs[stack_name] = self._deploy(directory, stack_name, artifact["properties"], parameters)
        return outputs

    def _publish(self, directory: Path, asset_manifest: str, layers: set[str]) -> None:
        files: dict[str, Any] = json.loads((directory / asset_manifest).read_text(encoding="utf-8"))["files"]
        for asset in files.values():
            for destination in asset["destinations"].values():
                key = self._resolve(destination["objectKey"])
                if key in self._published:
                    continue
                body = _empty_layer() if key in layers else _asset_body(directory, asset["source"])
                self._put(self._resolve(destination["bucketName"]), key, body)
                self._published.add(key)

    def _put(self, bucket: str, key: str, body: bytes) -> None:
        storage = self._client("s3")
        if bucket not in self._buckets:
            storage.create_bucket(Bucket=bucket)
            self._buckets.add(bucket)
        storage.put_object(Bucket=bucket, Key=key, Body=body)

    def _deploy(
        self, directory: Path, stack_name: str, properties: Mapping[str, Any], parameters: Mapping[str, str]
    ) -> dict[str, str]:
        template_text = (directory / properties["templateFile"]).read_text(encoding="utf-8")
        declared: dict[str, Any] = json.loads(template_text).get("Parameters", {})
        request: dict[str, Any] = {
            "StackName": stack_name,
            "TemplateURL": self._template_url(properties),
            "Capabilities": ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            "Parameters": [
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
                if name in declared
            ],
        }
        formation = self._client("cloudformation")
        try:
            if self._stack(stack_name) is None:
                formation.create_stack(**request)
            else:
                formation.update_stack(**request)
        except formation.exceptions.ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise DeployFailed(f"{stack_name}: {error}") from error
        return self._wait_for(stack_name)

    def _template_url(self, properties: Mapping[str, Any]) -> str:
        location = self._resolve(properties["stackTemplateAssetObjectUrl"])
        return f"{self._endpoint_url}/{location.removeprefix('s3://')}"

    def _stack(self, stack_name: str) -> dict[str, Any] | None:
        formation = self._client("cloudformation")
        try:
            stacks = formation.describe_stacks(StackName=stack_name)["Stacks"]
        except formation.exceptions.ClientError:
            return None
        return stacks[0] if stacks else None

    def _wait_for(self, stack_name: str) -> dict[str, str]:
        deadline = time.monotonic() + STACK_TIMEOUT_SECONDS
        while True:
            stack = self._stack(stack_name) or {}
            status = str(stack.get("StackStatus", "missing"))
            if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
                return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
            is_over = not status.endswith("_IN_PROGRESS") or "ROLLBACK" in status
            if is_over or time.monotonic() > deadline:
                raise DeployFailed(f"{stack_name} is {status}: {self._first_failure(stack_name)}")
            time.sleep(POLL_SECONDS)

    def _first_failure(self, stack_name: str) -> str:
        events = self._client("cloudformation").describe_stack_events(StackName=stack_name)["StackEvents"]
        failures = [event for event in events if str(event.get("ResourceStatus", "")).endswith("_FAILED")]
        if not failures:
            return "no resource reported a failure"
        first = failures[-1]  # the newest comes first
        resource = f"{first.get('LogicalResourceId')} ({first.get('ResourceType')})"
        return f"{resource}: {first.get('ResourceStatusReason', 'no reason given')}"

    def _resolve(self, text: str) -> str:
        return (
            text.replace("${AWS::AccountId}", self._account_id)
            .replace("${AWS::Region}", self._region)
            .replace("${AWS::Partition}", "aws")
        )

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            import boto3

            session: Any = boto3.Session(
                aws_access_key_id="test",
                aws_secret_access_key="test",  # noqa: S106  # the emulator takes any credentials
                region_name=self._region,
            )
            self._clients[service] = session.client(service, endpoint_url=self._endpoint_url)
        return self._clients[service]


def _assemblies(root: Path) -> Iterator[Path]:
    """The assembly and those nested in it (the stages of an app), the outer one first."""
    yield root
    manifest: dict[str, Any] = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    for artifact in manifest.get("artifacts", {}).values():
        if artifact["type"] == "cdk:cloud-assembly":
            yield from _assemblies(root / artifact["properties"]["directoryName"])


def _in_dependency_order(artifacts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in ordered or name not in artifacts:
            return
        for dependency in artifacts[name].get("dependencies", []):
            visit(dependency)
        ordered[name] = None

    for name in artifacts:
        visit(name)
    return list(ordered)


def _layer_objects(directory: Path) -> set[str]:
    """The object keys of layer contents: wheels for the Lambda runtime, of no use here and slow to move."""
    keys: set[str] = set()
    for template in directory.glob("*.template.json"):
        resources: dict[str, Any] = json.loads(template.read_text(encoding="utf-8")).get("Resources", {})
        for resource in resources.values():
            if resource.get("Type") == "AWS::Lambda::LayerVersion":
                key = resource.get("Properties", {}).get("Content", {}).get("S3Key")
                if isinstance(key, str):
                    keys.add(key)
    return keys


def _empty_layer() -> bytes:
    return _zip({_LAYER_PLACEHOLDER: b""})


def _asset_body(directory: Path, source: Mapping[str, str]) -> bytes:
    path = directory / source["path"]
    if source["packaging"] != "zip" or path.is_file():
        return path.read_bytes()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return _zip({str(file.relative_to(path)): file.read_bytes() for file in files})


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
