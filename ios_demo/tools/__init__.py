"""Tests the iOS app without a Mac: `python3 -m ios_demo.tools --help`.

Swift comes from the machine, or from Debian 13 in a tree of its own. What Apple's SDK alone can show (that Xcode builds
the project, that the views look right, that Core ML takes a model) is left to the macOS workflow. Standard library
only, so that no environment has to be built first.
"""
