"""A body that an endpoint accepts, made from its declared model."""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ValidationError

Schema = Mapping[str, Any]  # JSON Schema is as free as JSON

# For what a schema does not say: the values a validator of the model's own wants.
BODIES: Mapping[str, Mapping[str, object]] = {
    "create_credential": {"connector": "slack", "authMethod": "bearer", "secret": {"access_token": "x"}},
    "rotate_credential": {"secret": {"access_token": "y"}},
    "update_workflow": {
        "name": "Sample", "language": "javascript", "tier": "standard", "isActive": True,
        "source": "export default async function main() { return 1; }",
    },
    "deploy_workflow": {"environment": "development"},
    "test_workflow": {"source": "export default async function main(ctx) { return ctx.input; }"},
}  # fmt: skip


def sample_body(operation: str, model: type[BaseModel], ids: Mapping[str, str]) -> dict[str, object]:
    """The smallest body of this operation; its members of type uuid are taken from `ids` by their names.

    Fails, naming the operation, if an id has no value there or the model refuses the body.
    """
    schema = model.model_json_schema(by_alias=True)
    body = dict(BODIES.get(operation) or cast("dict[str, object]", _Sampler(schema, ids).sample(schema, "")))
    try:
        model.model_validate(body)
    except ValidationError as error:
        raise AssertionError(f"give {operation} a body in tests/foundation/bodies.py: {error}") from error
    return body


class _Sampler:
    """Walks one schema."""

    def __init__(self, schema: Schema, ids: Mapping[str, str]) -> None:
        self._definitions: Schema = schema.get("$defs", {})
        self._ids = ids

    def sample(self, schema: Schema, name: str) -> object:
        """A value that the schema admits, as small as can be."""
        if "$ref" in schema:
            return self.sample(self._definitions[schema["$ref"].rsplit("/", 1)[-1]], name)
        if alternatives := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
            return self.sample(alternatives[0], name)
        if choices := schema.get("enum"):
            return choices[0]
        if schema.get("type") == "object":
            properties = schema.get("properties", {})
            return {member: self.sample(properties[member], member) for member in schema.get("required", ())}
        if schema.get("type") == "array":
            return [self.sample(schema["items"], name)] * schema.get("minItems", 0)
        return self._plain_value(schema, name)

    def _plain_value(self, schema: Schema, name: str) -> object:
        if schema.get("format") == "uuid":
            return self._ids[name]
        by_type: dict[str, object] = {
            "string": "x" * max(1, schema.get("minLength", 1)),
            "integer": schema.get("minimum", 1),
            "number": 1.0,
            "boolean": True,
        }
        return schema.get("const") or by_type.get(str(schema.get("type")))
