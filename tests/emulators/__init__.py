"""Stand-ins for the clouds on loopback: they speak the services' wire protocols and really run what they are given.

``start(provider, …)`` starts one in a process of its own; what it gives back are the environment variables with the
Airflow connections that lead to it. Nothing in the product knows of them.
"""

from __future__ import annotations
