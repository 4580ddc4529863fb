"""The platform ``local``: processes on the machine that runs the task."""
