#!/usr/bin/env bash
# Installs Debian's Chromium where it is missing, if this user may; else says what to install.
set -euo pipefail

command -v chromium > /dev/null && exit

as_root=()
if [ "$(id -u)" != 0 ]; then
    as_root=(sudo -n)
fi
if command -v apt-get > /dev/null && "${as_root[@]}" true 2> /dev/null; then
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium > /dev/null
else
    echo "The tests of Prefect's UI are skipped without a browser. Install Chromium (Debian:" >&2
    echo "'apt-get install chromium'), so that the command 'chromium' is found." >&2
    exit 1
fi
