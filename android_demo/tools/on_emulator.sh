#!/usr/bin/env bash
# Runs the bundle $BUNDLE on the running emulator, for ../../action.yml, which sets the variables.
set -euo pipefail
bundle=$(realpath "$BUNDLE")
cd "$SOURCE"
python3 -m android_demo.tools device "$bundle" "$APK" "$TESTS" --question "$QUESTION" --tokens "$TOKENS" \
    --summary "$GITHUB_STEP_SUMMARY" | tee "$RESULT"
echo "result=$RESULT" >> "$GITHUB_OUTPUT"
