#!/usr/bin/env bash
# Makes the base images known to podman: pulled where a registry can be reached, else built from Debian packages as a stand-in.
set -euo pipefail

make_stand_in() {
    command -v debootstrap >/dev/null || { echo "No registry can be reached and debootstrap is not installed."; exit 1; }
    echo "No registry can be reached: building stand-ins from Debian packages."
    local root
    root=$(mktemp --directory)
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,redis-server,ca-certificates bookworm "$root" >/dev/null
    ln -s python3 "$root/usr/bin/python"
    rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    install -d -o "$(chroot "$root" id -u redis)" -g "$(chroot "$root" id -g redis)" "$root/data"
    tar -C "$root" -c . | podman import --change 'WORKDIR /data' --change 'VOLUME /data' - docker.io/library/redis:7
    rmdir "$root/data"
    tar -C "$root" -c . | podman import - docker.io/library/python:3.11-slim
    rm -rf "$root"
}

for image in docker.io/library/python:3.11-slim docker.io/library/redis:7; do
    podman image exists "$image" || timeout 60 podman pull --quiet "$image" || make_stand_in
done
