"""Bytes in, bytes out: one file per HTTP library, behind the protocols of `base`."""
