#!/usr/bin/env bash
# Builds the images and runs docker-compose.yml for real, with docker or podman and without a GPU: a picture is asked for, the
# worker is killed on the way, and the picture arrives all the same. `make compose-check` calls this.
#
# BUILD_ARGS  further arguments of every image build, such as --volume FILE:/etc/pip.conf:ro for this machine's pip settings
# PORT        of this machine, 8765 if left out
set -euo pipefail
cd "$(dirname "$0")/.."

PORT=${PORT:-8765}
BUILD_ARGS=${BUILD_ARGS:-}
export NUWA_PORT=$PORT COMPOSE_PROFILES=cpu COMPOSE_PROJECT_NAME=nuwa-check

say() { printf '\n== %s\n' "$*"; }

if docker compose version >/dev/null 2>&1; then
    engine=docker
    compose() { docker compose "$@"; }
elif command -v podman >/dev/null; then
    engine=podman
    podman_compose=$(command -v podman-compose || echo .venv/bin/podman-compose)
    [[ -x $podman_compose ]] || { .venv/bin/python -m pip install --quiet podman-compose; }
    compose() { "$podman_compose" --profile cpu --podman-run-args=--pull=never "$@"; }
else
    echo "Neither docker compose nor podman is installed here, so there is nothing to run the containers with."
    exit 1
fi

build() { # image, Dockerfile
    say "Building $1 from $2"
    # shellcheck disable=SC2086  # BUILD_ARGS holds several words
    if [[ $engine == docker ]]; then
        docker build --tag "$1" --file "$2" $BUILD_ARGS .
    else
        docker/podman_base.sh
        podman build --format docker --isolation chroot --network host --pull-never --tag "$1" --file "$2" $BUILD_ARGS .
    fi
}

container() { $engine ps --format '{{.Names}}' | grep -E "^$COMPOSE_PROJECT_NAME[-_]$1[-_]"; }

wait_for() { # seconds, words, command...
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || { echo "Waited in vain for: $what"; compose logs || true; exit 1; }
        sleep 0.2
    done
    echo "ok: $what"
}

get() { curl --silent --show-error --fail --max-time 10 "http://127.0.0.1:$PORT$1"; }
field() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }
status_is() { [[ $(get "/jobs/$job" | field "['status']") == "$1" ]]; }
drawing() { (($(get "/jobs/$job" | field "['patches_done']") >= 2)); }

build nuwa-gateway docker/server.Dockerfile
build nuwa-worker docker/worker.Dockerfile

say "Images"
$engine run --rm --network none --entrypoint python nuwa-gateway -c 'import importlib.util; assert importlib.util.find_spec("torch") is None'
echo "ok: no torch in the gateway image ($($engine image inspect nuwa-gateway --format '{{.Size}}') bytes)"
for image in nuwa-gateway nuwa-worker; do
    [[ $($engine run --rm --network none --entrypoint id $image -u) != 0 ]]
    echo "ok: $image does not run as root"
done

say "Starting redis, gateway and worker-cpu"
trap 'say Stopping; compose down --volumes >/dev/null 2>&1 || true' EXIT
compose up --detach --no-build redis gateway worker-cpu
wait_for 60 "the gateway lives" get /livez
wait_for 180 "a worker is ready" get /readyz
[[ $engine == docker ]] || for service in redis gateway worker-cpu; do
    wait_for 60 "$service is healthy" podman healthcheck run "$(container $service)"
done

say "A picture, with the worker killed on the way"
job=$(curl --silent --fail --json '{"prompt": "snowy mountains at sunset with a lake", "seed": 7}' "http://127.0.0.1:$PORT/generate" |
    field "['id']")
wait_for 60 "patches appear" drawing
$engine kill --signal KILL "$(container worker-cpu)" >/dev/null
$engine start "$(compose ps --all --format '{{.Names}}' 2>/dev/null | grep worker-cpu || $engine ps --all --format '{{.Names}}' | grep worker-cpu)" >/dev/null
wait_for 240 "the picture is finished" status_is succeeded
get "/jobs/$job/result" | python3 -c 'import sys; sys.exit(not sys.stdin.buffer.read().startswith(b"\x89PNG"))'
echo "ok: the result is a PNG"
[[ $(get "/jobs/$job/events?pixels=url" | grep --count '^event: job.resumed') == 1 ]]
echo "ok: the job's log says that another worker went on with it"

say "A restart of Redis loses nothing"
$engine restart "$(container redis)" >/dev/null
wait_for 60 "the finished job is still known" status_is succeeded
say "All passed"
