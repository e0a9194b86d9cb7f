"""From a command line and YAML files to typed settings, every fault at once."""

from pwfn.config.build import ConfigError
from pwfn.config.output_folders import OwnFolder

__all__ = ["ConfigError", "OwnFolder"]
