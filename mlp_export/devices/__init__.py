"""This machine and its phones: what is installed, push, measurements in the apps."""
