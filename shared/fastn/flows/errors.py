"""What makes a step flow no workflow."""

from fastn.errors import ValidationFailed


class FlowInvalid(ValidationFailed):
    """The flow cannot be compiled; the message and `details.step` name the step, None where it is the flow's own."""

    def __init__(self, message: str, *, step: str | None = None) -> None:
        super().__init__(f"flow: {message}" if step is None else f"step {step}: {message}", details={"step": step})
        self.step = step
