"""Store a secret for a customer's workflows; its value is encrypted and never returned."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.secrets import service as secrets
from fastn.secrets.views import NewSecret, SecretView


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/secrets",
    permission=Permission.SECRETS_WRITE,
    needs={Need.DATABASE, Need.TENANT_KEYS},
    status=201,
    environment_bound=True,
)
def handler(request: Request[NewSecret], platform: Platform) -> SecretView:
    tools = secrets.secret_tools(platform)
    return secrets.create_secret(tools, request.owner, request.environment, request.body)
