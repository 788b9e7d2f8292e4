#!/usr/bin/env bash
# Build the image with docker, podman or buildah, whichever works here: images/build.sh
#
# Torch is as PyPI has it: with CUDA's libraries; it runs on the CPU as well. A smaller image without them needs an index
# with torch's and torchvision's +cpu wheels, and these versions in images/requirements.lock: PyPI has no torchvision for
# x86-64 that imports beside a CPU-only torch.
#
# Read from the environment:
#   IMAGE                               name and tag [rlnas:latest]; tagged NAME:VERSION as well
#   BASE_IMAGE                          anything with Python 3.11, venv and pip [python:3.11-slim]
#   PIP_INDEX_URL, PIP_EXTRA_INDEX_URL  indexes, visible in the image's history
#   PIP_CONFIG_FILE                     a pip.conf that stays out of the image, for indexes with a password
#   WHEELS                              a folder of wheels that are preferred, such as `pip download` makes
#   ENGINE, BUILD_FLAGS                 docker, podman or buildah, and more flags for its build
#   SOURCE                              where the code is from, for the image's labels [git's origin, if that is a URL]
#   SOURCE_DATE_EPOCH                   when it was built, for the labels, in seconds since 1970 [now]
#   PUSH                                true: push both tags
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "images/build.sh: $*" >&2; exit 2; }

[ $# = 0 ] || fail "takes no argument, but $1; the environment says what differs"
image=${IMAGE:-rlnas:latest}
[[ ${image##*/} == *:* ]] || image+=:latest
engine=${ENGINE:-}
for candidate in docker podman buildah; do
    [ -n "$engine" ] || ! "$candidate" info > /dev/null 2>&1 || engine=$candidate
done
[ -n "$engine" ] || fail "neither docker (with its daemon), podman nor buildah works here; ENGINE=NAME shows why"

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
commit=$(git describe --always --abbrev=40 --dirty --exclude '*' 2> /dev/null || echo unknown)
tags=("$image" "${image%:*}:$version")
# Without a name or a password that the URL may hold.
source=${SOURCE:-$({ git config --get remote.origin.url 2> /dev/null || true; } | sed -nE 's#^(https?)://([^/@]*@)?#\1://#p')}
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%FT%TZ)
flags=(--build-arg "VERSION=$version" --build-arg "COMMIT=$commit")
flags+=(--build-arg "SOURCE=${source:-unknown}" --build-arg "CREATED=$created")
for name in BASE_IMAGE PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do
    [ -z "${!name:-}" ] || flags+=(--build-arg "$name=${!name}")
done
[ -z "${PIP_CONFIG_FILE:-}" ] || flags+=(--secret "id=pip.conf,src=$PIP_CONFIG_FILE")
[ -z "${WHEELS:-}" ] || flags+=(--build-context "wheels=$WHEELS")
for tag in "${tags[@]}"; do flags+=(--tag "$tag"); done
read -ra more <<< "${BUILD_FLAGS:-}"

# Layers are kept by default only by the first two.
case $engine in buildah) build=(buildah build --layers) ;; *) build=("$engine" build) ;; esac
"${build[@]}" "${flags[@]}" "${more[@]}" .
if [ "${PUSH:-}" = true ]; then
    for tag in "${tags[@]}"; do "$engine" push "$tag"; done
fi
printf '%s\n' "${tags[@]}"
