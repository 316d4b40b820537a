"""Objects that a command is given by their name: ``module:object``."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

from lakemem.errors import ConfigurationError
from lakemem.protocols import Embedder


def embedder_of(name: str) -> Embedder:
    """Return the embedder that is named, or what makes one without arguments, such as a class.

    Raises:
        ConfigurationError: there is none under this name.
    """
    found = object_of(name)
    if isinstance(found, type) or (callable(found) and not isinstance(found, Embedder)):
        found = found()
    if not isinstance(found, Embedder):
        raise ConfigurationError(f"{name} is no embedder: it needs model, dimensions and embed(texts)")
    return found


def object_of(name: str) -> Any:
    """Return what a module, of this folder or installed, has under a name.

    Raises:
        ConfigurationError: there is no such module, or it has no such name.
    """
    module_name, _, attributes = name.partition(":")
    if not module_name or not attributes:
        raise ConfigurationError(f"{name} is not of the form module:object, such as my_app.models:embedder")
    found: Any = module_of(module_name)
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise ConfigurationError(f"{name}: the module {module_name} has no {attributes}")
        found = getattr(found, attribute)
    return found


def module_of(name: str) -> ModuleType:
    """Return a module of this folder, or an installed one.

    Raises:
        ConfigurationError: there is no such module.
    """
    # A command that is installed finds no module of the folder that it is run in.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{name}: there is no module {error.name}") from None
