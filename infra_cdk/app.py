"""`python -m infra_cdk.app`: reads the context and the declarations, and composes the stacks."""

import os
import sys
from pathlib import Path

from aws_cdk import App

from infra_cdk.checks import validate_with_cdk_nag
from infra_cdk.context import configuration_from
from infra_cdk.installation import Sources, compose

ROOT = Path(__file__).resolve().parent.parent
VALIDATION_SWITCH = "CDK_VALIDATION"
"""The CDK command line's own switch: "false" leaves out the checks, which take most of the time."""


def main(root: Path = ROOT) -> None:
    """Writes the cloud assembly of the installation that the context describes."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    app = App()
    compose(app, configuration_from(app.node), Sources.of_checkout(root))
    if os.environ.get(VALIDATION_SWITCH) != "false":
        validate_with_cdk_nag(app)
    app.synth()


if __name__ == "__main__":
    main()
