"""The environment in which templates of specs run."""

from __future__ import annotations

from jinja2 import Environment


def native_sandbox(env: Environment) -> Environment:
    """A sandbox whose templates give objects instead of text. Airflow's own environment for that is no sandbox, and a
    template in it reaches Python's insides through names put together at run time."""
    from airflow.sdk.definitions._internal.templater import NativeEnvironment, SandboxedEnvironment

    class NativeSandbox(SandboxedEnvironment, NativeEnvironment):
        """Both: what the first forbids, and how the second puts results together."""

    env.__class__ = NativeSandbox
    return env
