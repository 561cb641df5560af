"""For tools that still run this file; everything is in setup.cfg."""

from setuptools import setup

setup()
