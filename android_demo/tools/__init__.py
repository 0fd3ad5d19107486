"""Builds and tests the Android app without Gradle and without an Android SDK: `python3 -m android_demo.tools --help`.

The sources are Gradle's own. What a phone runs is compiled by Kotlin's and Android's own compilers (kotlinc, aapt2, R8,
apksigner), which Debian and Maven supply; ExecuTorch's Android runtime comes out of an npm package, or from an AAR that
the user has. Standard library only, so that no environment has to be built first.
"""
