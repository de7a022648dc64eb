"""Names that other stacks derive instead of importing.

A name that is derived needs no CloudFormation export, so no stack waits for another to let go of one, and
functions may refer to the state machine that refers to them.
"""

from enum import StrEnum

from aws_cdk import Aws

from fastn.platform.resources import Queue

LAMBDA_NAME_LIMIT = 64
INSTANT_EXECUTOR = "execute_instant"
SEGMENT_EXECUTOR = "run_segment"
FAILURE_RECORDER = "fail_execution"


class Machine(StrEnum):
    """The state machines; each is defined in `statemachines/<value>.asl.json`."""

    STANDARD = "standard"
    LONG = "long"


class NameTooLong(ValueError):
    """A derived name exceeds what AWS allows; the message says which."""


def function_name(installation: str, stem: str) -> str:
    """The Lambda of the function with this file stem. Raises NameTooLong beyond 64 characters."""
    name = f"{installation}-{stem.replace('_', '-')}"
    if len(name) > LAMBDA_NAME_LIMIT:
        raise NameTooLong(f"{name}: a Lambda's name has at most {LAMBDA_NAME_LIMIT} characters")
    return name


def function_arn(installation: str, stem: str) -> str:
    """The ARN of that Lambda, in the account and region of the stack that uses it."""
    name = function_name(installation, stem)
    return f"arn:{Aws.PARTITION}:lambda:{Aws.REGION}:{Aws.ACCOUNT_ID}:function:{name}"


def machine_name(installation: str, machine: Machine) -> str:
    """The name of a state machine."""
    return f"{installation}-{machine}"


def machine_arn(installation: str, machine: Machine) -> str:
    """The ARN of that state machine, in the account and region of the stack that uses it."""
    name = machine_name(installation, machine)
    return f"arn:{Aws.PARTITION}:states:{Aws.REGION}:{Aws.ACCOUNT_ID}:stateMachine:{name}"


def queue_name(installation: str, queue: Queue) -> str:
    """The name of a queue."""
    return f"{installation}-{queue}"


def pascal_case(name: str) -> str:
    """`list_workflows` or `list-workflows` as `ListWorkflows`: a construct id."""
    return "".join(part.capitalize() for part in name.replace("-", "_").split("_"))
