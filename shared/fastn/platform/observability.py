"""Structured logs and metrics of one function, through AWS Lambda Powertools."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "Fastn"


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
        """One line at level ERROR with the error's type and stack, but never its values."""
        self._logger.error(message, extra={**fields, "errorType": type(error).__name__}, exc_info=error)

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
