"""How a view gets at the parts of the installation."""

from typing import cast

from flask import Flask, current_app

from services.system import System

_NAME = "system"


def attach(app: Flask, system: System) -> None:
    app.extensions[_NAME] = system


def the_system() -> System:
    """The system that the running app was made with."""
    return cast(System, current_app.extensions[_NAME])
