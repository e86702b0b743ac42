"""`indigo-async --install-completion`: install tab completion."""

from __future__ import annotations

from collections.abc import Callable

from cyclopts.completion.install import create_install_completion_command

from indigo_async.cli.app import app

__all__ = ["install_completion"]

install_completion: Callable[..., None] = create_install_completion_command(app.install_completion, add_to_startup=True)
