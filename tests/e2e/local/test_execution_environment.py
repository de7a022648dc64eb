"""What a Lambda function and its caller see on the laptop is what they see in AWS."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from fastn.local.cpu_log import cpu_ms_per_function
from tests.e2e.local.conftest import Laptop, wait_until

pytestmark = pytest.mark.e2e


def test_function_sees_only_the_variables_of_its_template_and_of_lambda(laptop: Laptop) -> None:
    seen = laptop.invoke("describe").payload["environment"]

    assert seen["FROM_TEMPLATE"] == "yes"
    assert seen["DATABASE_URL"] == laptop.endpoints.database.owner_url
    assert seen["AWS_ENDPOINT_URL"] == laptop.endpoints.aws_endpoint_url
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == "describe"
    assert seen["TZ"] == ":UTC"
    foreign = {name for name in seen if not name.startswith(("AWS_", "LAMBDA_", "_X_AMZN", "_HANDLER"))}
    assert foreign == {"FROM_TEMPLATE", "DATABASE_URL", "PATH", "LANG", "TZ"}


def test_context_carries_deadline_memory_and_request(laptop: Laptop) -> None:
    seen = laptop.invoke("describe").payload

    assert 0 < seen["remaining"] <= 5000
    assert seen["memory"] == "256"
    assert seen["request_id"]
    assert seen["arn"].endswith(":function:describe")


def test_exception_is_reported_with_its_type_message_and_stack(laptop: Laptop) -> None:
    answer = laptop.invoke("fail")

    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "CustomError"
    assert answer.payload["errorMessage"] == "no"
    assert len(answer.payload["stackTrace"]) == 1
    assert "functions/probe.py" in answer.payload["stackTrace"][0]


def test_environment_stays_warm_after_an_exception(laptop: Laptop) -> None:
    first = laptop.runtime.control.environment_pids()

    laptop.invoke("fail")
    after_one = laptop.runtime.control.environment_pids()
    laptop.invoke("fail")

    assert laptop.runtime.control.environment_pids() == after_one
    assert set(first) <= set(after_one)


def test_timeout_reports_what_lambda_reports_and_leaves_no_process(laptop: Laptop, tmp_path: Path) -> None:
    children = tmp_path / "children"

    answer = laptop.invoke("sleep", {"children": str(children)})

    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Sandbox.Timedout"
    assert answer.payload["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    started = [int(pid) for pid in children.read_text().split()]
    assert len(started) == 2
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in started))


def test_exit_is_reported_with_its_status_and_the_next_call_works(laptop: Laptop) -> None:
    with_status, without = laptop.invoke("leave", {"status": 3}), laptop.invoke("leave", {"status": 0})

    assert with_status.payload["errorType"] == "Runtime.ExitError"
    assert with_status.payload["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert without.payload["errorMessage"].endswith("Error: Runtime exited without providing a reason")


def test_module_that_cannot_be_imported_is_an_init_error_and_logged(laptop: Laptop) -> None:
    answer = laptop.invoke("broken")

    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.ImportModuleError"
    assert "a_module_that_does_not_exist" in answer.payload["errorMessage"]
    assert "a_module_that_does_not_exist" in (laptop.endpoints.log_directory / "broken.log").read_text()


@pytest.mark.parametrize(("size", "error"), [(6_291_554, None), (6_291_555, "Unhandled")])
def test_response_over_six_megabytes_is_refused(laptop: Laptop, size: int, error: str | None) -> None:
    answer = laptop.invoke("respond_with", {"size": size})  # two quotes make it JSON

    assert answer.error == error
    if error:
        assert answer.payload["errorType"] == "Function.ResponseSizeTooLarge"


def test_reserved_concurrency_of_the_template_throttles(laptop: Laptop) -> None:
    functions = laptop.client("lambda")

    with pytest.raises(functions.exceptions.TooManyRequestsException):
        functions.invoke(FunctionName="reserved", Payload="{}")


def test_function_without_source_in_the_checkout_is_served_from_its_asset(laptop: Laptop) -> None:
    served_from = laptop.invoke("asset_only").payload["served_from"]

    assert not served_from.startswith(str(laptop.checkout))


def test_changed_source_is_served_by_the_next_invocation(laptop: Laptop) -> None:
    source = laptop.checkout / "functions" / "probe.py"
    original = source.read_text()
    before = laptop.invoke("describe").payload

    source.write_text(original.replace('VERSION = "one"', 'VERSION = "second"'))
    try:
        wait_until(lambda: laptop.invoke("describe").payload["version"] == "second")
    finally:
        source.write_text(original)

    assert before["version"] == "one"
    wait_until(lambda: laptop.invoke("describe").payload["version"] == "one")
    assert not psutil.pid_exists(before["pid"])


def test_loopback_routes_reach_handlers_through_the_context_alone(laptop: Laptop) -> None:
    laptop.invoke("describe")

    laptop.runtime.control.set_loopback_routes({"api.shopify.example": 4711})
    with_routes = laptop.invoke("describe").payload
    laptop.runtime.control.set_loopback_routes({})

    assert with_routes["routes"] == {"api.shopify.example": 4711}
    assert "4711" not in json.dumps(with_routes["environment"])
    assert laptop.invoke("describe").payload["routes"] == {}


def test_cpu_time_of_each_invocation_is_recorded(laptop: Laptop) -> None:
    log = laptop.endpoints.log_directory / "cpu.jsonl"
    before = cpu_ms_per_function(log)

    laptop.invoke("burn", {"seconds": 0.2})

    after = cpu_ms_per_function(log)
    assert 195 <= after["burn"] - before.get("burn", 0) <= 400


def test_output_lands_in_cloudwatch_logs_and_in_the_log_directory(laptop: Laptop) -> None:
    laptop.invoke("fail")

    events = laptop.client("logs").filter_log_events(logGroupName="/aws/lambda/fail", filterPattern="about")["events"]
    assert "about to fail" in [event["message"] for event in events]
    log = (laptop.endpoints.log_directory / "fail.log").read_text()
    assert "about to fail" in log
    assert "[ERROR] CustomError: no" in log


def test_concurrent_invocations_run_in_separate_environments(laptop: Laptop) -> None:
    def echo(number: int) -> int:
        return laptop.invoke("echo", number).payload

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(echo, range(40)))

    assert answers == list(range(40))
