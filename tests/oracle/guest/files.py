"""Files of the kernel's, whole."""

from typing import Any

__all__ = ["Json", "read", "write"]

Json = dict[str, Any]


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()
