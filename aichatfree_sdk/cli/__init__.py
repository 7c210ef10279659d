"""The ``aichatfree`` command (extra: cli); run it as ``aichatfree`` or ``python -m aichatfree_sdk.cli``."""
