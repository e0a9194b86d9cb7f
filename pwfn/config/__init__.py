"""Turn a command line and YAML files into typed settings, or list every fault at once."""

from pwfn.config.build import ConfigError
from pwfn.config.output_folders import OwnFolder

__all__ = ["ConfigError", "OwnFolder"]
