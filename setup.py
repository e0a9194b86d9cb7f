"""Name the packages of the wheel; pyproject.toml says everything else."""

from setuptools import find_namespace_packages, find_packages, setup

setup(
    packages=[
        *find_packages(include=["pwfn", "pwfn.*"]),
        *find_namespace_packages(include=["hydra_plugins.*"]),
        "pwfn.conf",
    ],
    # conf/ stays at the top of the checkout, where people edit it, and is installed as the folder pwfn/conf
    package_dir={"pwfn.conf": "conf"},
)
