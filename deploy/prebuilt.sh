#!/bin/sh
# prebuilt.sh FOLDER [IMAGE]: packs programs that were built already into the image, by Dockerfile.prebuilt.
#   cargo build --release && sh deploy/prebuilt.sh target/release
set -eu
from=${1:?the folder with the programs, such as target/release}
root=$(cd "$(dirname "$0")/.." && pwd)
image=${2:-${ZHIRONG_IMAGE:-zhirong:0.1.0}}
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/programs" "$context/state"
for program in credit-profile product-catalog matching subsidy feedback gateway zhirong; do
    # Without what only a debugger reads; the programs of a development build are ten times as large with it.
    strip -o "$context/programs/$program" "$from/$program" 2>/dev/null || cp "$from/$program" "$context/programs/"
done
cp -r "$root/seeds" "$context/seeds"
docker build -f "$root/deploy/Dockerfile.prebuilt" -t "$image" \
    ${RUNTIME_IMAGE:+--build-arg "RUNTIME_IMAGE=$RUNTIME_IMAGE"} "$context"
