#!/usr/bin/env bash
# Install the system packages that parts of the course use: chromium and node (browser tests, hover
# tips), bubblewrap (isolation of graded code). Only where it may: Debian or Ubuntu, as root or with
# a sudo that asks for no password. Anywhere else it says what is missing and goes on.
set -eu

missing=()
command -v chromium > /dev/null || missing+=(chromium)
command -v node > /dev/null && command -v npm > /dev/null || missing+=(nodejs npm)
command -v bwrap > /dev/null || missing+=(bubblewrap)
[ ${#missing[@]} -eq 0 ] && exit 0

run=""
if [ "$(id -u)" -ne 0 ]; then
  run="sudo -n"
  $run true 2> /dev/null || run="none"
fi
if command -v apt-get > /dev/null && [ "$run" != none ]; then
  echo "Installing ${missing[*]} ..."
  $run apt-get update -qq > /dev/null &&
    DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends \
      "${missing[@]}" > /dev/null && exit 0
  echo "apt could not install: ${missing[*]}."
elif command -v apt-get > /dev/null; then
  echo "Not installed: ${missing[*]}. To have them: sudo apt install ${missing[*]}"
else
  echo "Not installed: ${missing[*]}. Install them with your system's package manager (macOS: brew install --cask chromium; brew install node; bubblewrap is for Linux only)."
fi
echo "Going on without: what needs them is skipped."
