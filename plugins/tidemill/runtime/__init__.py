"""The shim that calls the user's function, in any container: standard library only, Python 3.9 or newer.

``python -m tidemill.runtime --job FILE`` reads a job (:mod:`.files`), calls the function in a process of its
own (:mod:`.worker`) under a guard that owns the whole process tree (:mod:`.guard`), and leaves a result.
"""
