"""What pyproject.toml cannot say: the project's links, made from the repository's address in _config.yml."""

from pathlib import Path

import yaml
from setuptools import setup

repository = yaml.safe_load(Path(__file__).with_name("_config.yml").read_text(encoding="utf-8"))["repository"]["url"]

setup(project_urls={"Source": repository, "Issues": f"{repository}/issues"})
