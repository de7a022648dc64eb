"""What the workflows domain refuses, beyond a malformed request."""

from fastn.errors import Conflict


class SlugTaken(Conflict):
    """Another workflow of the same tenant has this slug."""

    def __init__(self, slug: str) -> None:
        super().__init__(
            f"Another workflow of this tenant is named {slug}. Give this one another slug.", details={"slug": slug}
        )


class WorkflowArchived(Conflict):
    """An archived workflow is neither published nor deployed."""

    def __init__(self) -> None:
        super().__init__("This workflow is archived. Save it with isActive true to bring it back.")


class NothingPublished(Conflict):
    """A deployment was asked for before any version exists."""

    def __init__(self) -> None:
        super().__init__("This workflow has no version yet. Publish it, then deploy.")
