"""The package's URLs: those of the repository whose workflow builds it."""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: What GitHub tells every job: the owner and name of the repository, and the server.
REPOSITORY, SERVER = "GITHUB_REPOSITORY", "GITHUB_SERVER_URL"
PAGES = {
    "Source": "",
    "Documentation": "/tree/main/docs",
    "Changelog": "/blob/main/CHANGELOG.md",
    "Issues": "/issues",
}


class Urls(MetadataHookInterface):
    """Called by hatchling; see ``[tool.hatch.metadata.hooks.custom]`` in pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the URLs; none where no repository is known, as in a clone."""
        name = os.environ.get(REPOSITORY)
        if name:
            root = f"{os.environ.get(SERVER, 'https://github.com')}/{name}"
            metadata["urls"] = {title: root + page for title, page in PAGES.items()}
