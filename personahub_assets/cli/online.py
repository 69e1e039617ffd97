"""Commands that ask online, whatever the mode of the home is."""

from personahub_assets.cli.console import say
from personahub_assets.core.config import HubConfig


def tell_that_online(config: HubConfig, command: str) -> None:
    """Before a command pays: tell that it asks online, if the mode of the home is the batch API."""
    if config.batch_api.use:
        say(f"{command} asks online, at the full price, although [batch_api] use is set")
