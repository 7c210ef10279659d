"""The protocol without I/O: no socket, no clock, no randomness; bytes, time and chance come in as arguments."""
