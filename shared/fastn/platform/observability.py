"""Structured logs and metrics of one function, through AWS Lambda Powertools."""

import traceback

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "Fastn"
MOST_CAUSES = 5
MOST_FRAMES = 12


class Telemetry:
    """The log and the metrics of one function. Bodies, tokens and the environment never go in."""

    def __init__(self, function: str) -> None:
        """`function` names the Lambda in every line and metric."""
        self._logger = Logger(service=function, level="INFO", utc=True, use_rfc3339=True)
        self._metrics = Metrics(namespace=NAMESPACE, service=function)

    def log(self, message: str, **fields: object) -> None:
        """One line of JSON at level INFO."""
        self._logger.info(message, extra=fields)

    def log_failure(self, message: str, error: BaseException, **fields: object) -> None:
        """One line at level ERROR with the types and frames of the error and its causes, never their words.

        An error's own text may quote what a caller or a vendor sent.
        """
        self._logger.error(message, extra={**fields, "errorType": type(error).__name__, "causes": _causes(error)})

    def count(self, name: str, value: float = 1) -> None:
        """Adds to a metric; written out by `flush`."""
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)

    def milliseconds(self, name: str, value: float) -> None:
        """Records a duration; written out by `flush`."""
        self._metrics.add_metric(name=name, unit=MetricUnit.Milliseconds, value=value)

    def flush(self) -> None:
        """Writes the metrics as one line in CloudWatch's embedded metric format."""
        if self._metrics.metric_set:
            self._metrics.flush_metrics()


def _causes(error: BaseException) -> list[dict[str, object]]:
    chain: list[dict[str, object]] = []
    cause: BaseException | None = error
    while cause is not None and len(chain) < MOST_CAUSES:
        frames = traceback.extract_tb(cause.__traceback__)[-MOST_FRAMES:]
        told = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        chain.append({"type": type(cause).__name__, "frames": told})
        cause = cause.__cause__ or cause.__context__
    return chain
