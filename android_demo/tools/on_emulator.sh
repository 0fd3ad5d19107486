#!/usr/bin/env bash
# Runs the bundle $BUNDLE on the running emulator, for ../../action.yml, which sets the variables.
set -euo pipefail
bundle=$(realpath "$BUNDLE")
cd "$SOURCE"
"$VENV/bin/mlp-export" doctor --device
"$VENV/bin/mlp-export" push "$bundle" --install "$APK"
"$VENV/bin/python" -m android_demo.tools device "$bundle" "$TESTS" --question "$QUESTION" --tokens "$TOKENS" \
    --summary "$GITHUB_STEP_SUMMARY" | tee "$RESULT"
echo "result=$RESULT" >> "$GITHUB_OUTPUT"
# An emulator's rates are no phone's: that the app measures and answers is what this shows.
"$VENV/bin/mlp-export" bench "$bundle" --device --prompt-tokens 64 --new-tokens 8 --repetitions 1 \
    || echo '::warning::the benchmark did not run on the emulator'
