"""Read YAML, and refuse what it takes without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from initscope.errors import UsageError, shown

LONGEST_FILE = 256_000
"""Bytes of a file of values: a specification has hundreds, and a large one takes long to parse."""

LARGEST_BITS = 1000
"""Of a whole number: Python refuses to write much longer ones."""


class _PlainLoader(yaml.SafeLoader):
    """Loader that refuses what YAML takes without a word, and what makes much of little.

    A key that stands in a mapping twice, of which YAML takes the last; anchors, aliases and merge
    keys, of which a few lines can be made into billions of values.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse anchors and aliases."""
        if self.check_event(yaml.AliasEvent) or self.peek_event().anchor is not None:
            mark = self.peek_event().start_mark
            raise yaml.YAMLError(
                f"line {mark.line + 1}: anchors (&) and aliases (*) are not read here, write the "
                f"value out, and put a text that begins so into quotes"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse merge keys, keys that stand there twice and keys that cannot be one."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.YAMLError("merge keys (<<) are not read here, write the values out")
            key = self.construct_object(key_node, deep=True)
            try:
                twice = key in seen
                seen.add(key)
            except TypeError:
                raise yaml.YAMLError(f"{shown(key)} cannot be the name of a value") from None
            if twice:
                name = key if isinstance(key, str) and len(key) < 100 else shown(key)
                raise yaml.YAMLError(f"{name} stands there twice")
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuse a whole number of many digits."""
        number: int = super().construct_yaml_int(node)
        if number.bit_length() > LARGEST_BITS:
            raise yaml.YAMLError(f"{shown(number)} is too large")
        return number


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)


def parse_yaml(text: str) -> Any:
    """Return the value that a text is in YAML; raises `ValueError`, with the reason in one line."""
    try:
        return yaml.load(text, _PlainLoader)
    except Exception as error:
        # Its own errors, and those of int(), float(), date() and the like on what looks like one.
        reason = str(error) or type(error).__name__
        if isinstance(error, RecursionError):
            reason = "it is nested too deeply"
        raise ValueError(" ".join(reason.split())) from None


def parse_option(name: str, text: str) -> Any:
    """Return the value of the option ``-p NAME VALUE`` of a command; `UsageError` if it is none.

    >>> parse_option("seeds", "[1, 2]")
    [1, 2]
    """
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise UsageError(f"-p {name}: {shown(text)} is not a YAML value. ({error})") from error


def described(value: object) -> str:
    """Return `value` as a message says it; text is called so, for it may look like a number."""
    return f"the text {shown(value)}" if isinstance(value, str) else shown(value)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; empty for an empty file."""
    name = shown(str(path))[1:-1]
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_FILE + 1)
        if len(data) > LONGEST_FILE:
            raise UsageError(
                f"{name} is no file of values: it has more than {LONGEST_FILE // 1000} kB."
            )
        content = parse_yaml(data.decode())
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"there is no file {name}.") from None
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name} is not valid YAML: it is no text in UTF-8 (byte {error.start})."
        ) from None
    except ValueError as error:  # also of open, for what cannot be the name of a file
        raise UsageError(f"{name} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{name} must hold a mapping (name: value), not {described(content)}.")
    return {str(key): value for key, value in content.items()}
