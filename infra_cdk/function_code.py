"""Stages the code of one function: a directory that holds its one file and nothing else.

So a changed handler changes one asset and redeploys one Lambda.
"""

from pathlib import Path

from fastn.http.registry import RegisteredFunction


def stage_code(root: Path, staging: Path, function: RegisteredFunction) -> Path:
    """The directory to zip for this function, under `staging/<name>`; it mirrors the file's path below `root`."""
    directory = staging / function.name
    wanted = directory / function.file
    for stale in directory.rglob("*") if directory.exists() else ():
        if stale.is_file() and stale != wanted:
            stale.unlink()
    source = (root / function.file).read_bytes()
    if not wanted.exists() or wanted.read_bytes() != source:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.write_bytes(source)
    return directory


def lambda_handler(function: RegisteredFunction) -> str:
    """`functions/api/…/list_workflows.handler`: Lambda reads the slashes as packages."""
    return f"{function.file.removesuffix('.py')}.handler"
