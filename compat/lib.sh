# shellcheck shell=bash
# What every compat/<client>/run shares: a broker to talk to, and stories that pass or fail.
#
#   source "$(dirname "$0")/../lib.sh"
#   start_broker [key=value]...     a fresh broker on a free port; sets BROKER, PORT, DATA, COMMAND
#   story NAME COMMAND [ARG]...     tell one story; prints `client NAME pass|fail seconds [note]`
#   beside NAME COMMAND [ARG]...    run a helper until the last story is told; its words are in $WORK/NAME.log
#   of_braid_alone NAME...          stories that mean nothing for Apache Kafka: with AGAINST=kafka it ends here
#
# and inside a story:
#
#   restart_broker                  a clean stop, then a start on the same port and data folder
#   eventually SECONDS COMMAND...   try until it succeeds, or fail
#   expect_warning REGEX            the broker may log this; any other WARN or ERROR fails the story
#   note WORDS                      a figure to print behind the result
#
# A client with a driver (see compat/drive) is told the stories of compat/drive/stories.py:
#
#   driver_of VERSION COMMAND...      a fresh broker, and the driver of that version of the client
#   absent NAME...                  stories that this client cannot tell, for want of what they need
#   without WORD...                 what it has not, and some stories then leave out
#   says WHAT=NAME...               what its own error is called when that is refused
#   run_all                        all of them
#
# A story runs under `set -e`: any command that fails is a failed story, shown with its trace and the
# broker's log. `compat/<client>/run NAME...` tells only the stories named. With AGAINST=kafka the
# broker is Apache Kafka: a story that Kafka fails is the story's fault. With QUICK=yes a client with
# a driver tells only QUICK_STORIES; with VERSION=V only that version of it does.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/compat/.cache
FOLDER=$(cd "$(dirname "$0")" && pwd)
CLIENT=$(basename "$FOLDER")
WANTED=" $* "
STORIES=(metadata roundtrip-{none,gzip,snappy,lz4,zstd} attributes large acks offsets waiting group commits crash
    static-member cooperative new-group migration idempotent idempotent-restarts transactions admin-topics admin-configs
    admin-groups delete-records new-partitions subscribed-early recreated unknown-topic refusals restart killed)
QUICK_STORIES=(metadata roundtrip-gzip attributes group commits transactions admin-topics refusals)
WORK=$(mktemp -d -t braid-compat.XXXXXX)
LOG=$WORK/broker.log DATA=$WORK/data
told=0 failed=0 log_lines_seen=0
trap finish EXIT

# Set COMMAND, the broker's command line, for the settings given.
broker_command() {
    local setting settings=("listeners=PLAINTEXT://127.0.0.1:$PORT" "log.dirs=$DATA"
        group.initial.rebalance.delay.ms=0 "$@")
    if [[ ${AGAINST:-braid} == kafka ]]; then
        kafka_command
        return
    fi
    COMMAND=("${CARGO_TARGET_DIR:-$ROOT/target}/release/braid")
    for setting in "http.listeners=HTTP://127.0.0.1:$SECOND_PORT" "${settings[@]}"; do
        COMMAND+=(--override "$setting")
    done
}

# The same for Apache Kafka, one node that is its own controller; called by broker_command.
kafka_command() {
    local file=$WORK/kafka.properties java=(java -Xmx1g -cp "$CACHE/kafka/*")
    printf '%s\n' "${settings[@]}" \
        "listeners=PLAINTEXT://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$SECOND_PORT" \
        "advertised.listeners=PLAINTEXT://127.0.0.1:$PORT" process.roles=broker,controller "node.id=${NODE:-1}" \
        "controller.quorum.voters=${NODE:-1}@127.0.0.1:$SECOND_PORT" controller.listener.names=CONTROLLER \
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT \
        {offsets.topic,transaction.state.log,share.coordinator.state.topic}.replication.factor=1 \
        {transaction.state.log,share.coordinator.state.topic}.min.isr=1 >"$file"
    "${java[@]}" kafka.tools.StorageTool format --ignore-formatted -t "$(uuid)" -c "$file" >>"$LOG" 2>&1
    COMMAND=("${java[@]}" kafka.Kafka "$file")
}

start_broker() {
    read -r PORT SECOND_PORT < <(free_ports)
    BROKER=127.0.0.1:$PORT
    broker_command "$@"
    launch
}

launch() {
    "${COMMAND[@]}" >>"$LOG" 2>&1 &
    echo $! >"$WORK/pid"
    eventually 60 answers_or_gone
    answers || { tail -n 30 "$LOG" >&2; return 1; }
}

# Is the broker there, and does it name itself in its metadata?
answers() {
    broker_runs && timeout 5 kcat -b "$BROKER" -L 2>/dev/null | grep " at $BROKER" >/dev/null
}

broker_pid() { cat "$WORK/pid" 2>/dev/null; }
broker_runs() { grep -q '^State:.[^Z]' "/proc/$(broker_pid)/status" 2>/dev/null; }
# A killed one is gone when its last thread is: until then it has its ports.
broker_gone() { ! broker_runs && (($(find "/proc/$(broker_pid)/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l) < 2)); }
answers_or_gone() { answers || broker_gone; }

# SIGTERM must be enough; a broker that has to be killed fails the story.
stop_broker() {
    kill -TERM "$(broker_pid)"
    eventually 60 broker_gone || { kill -KILL "$(broker_pid)"; return 1; }
}

restart_broker() {
    stop_broker
    launch
}

kill_hard() {
    kill -KILL "$(broker_pid)"
    eventually 60 broker_gone
}

kill_broker() { # [SECONDS] for which it is down; Kafka always is longer
    kill_hard
    [[ ${AGAINST:-braid} == kafka ]] || sleep "${1:-0}"
    launch
}

story() {
    local name=$1 began result=pass status
    shift
    [[ $WANTED == "  " || $WANTED == *" $name "* ]] || return 0
    broker_runs || launch # the story before may have lost it
    began=$(date +%s%N)
    rm -rf "$WORK/story"
    mkdir "$WORK/story"
    truncate -s 0 "$WORK"/{expected,note,story.log}
    set +e # a condition around the subshell would switch its `set -e` off
    (tell "$@") >>"$WORK/story.log" 2>&1
    status=$?
    set -e
    broker_runs || { echo "the broker is gone" >>"$WORK/story.log"; status=1; }
    complaints >>"$WORK/story.log" || status=1
    ((status == 0)) || result=fail failed=$((failed + 1))
    told=$((told + 1))
    printf '%s %s %s %.1f %s\n' "$CLIENT" "$name" "$result" "$((($(date +%s%N) - began) / 10 ** 8))e-1" \
        "$(cat "$WORK/note")" | tee -a "${RESULTS:-/dev/null}"
    ((status == 0)) || { tail -n 30 "$WORK/story.log"; echo "--- broker"; tail -n 15 "$WORK/story.broker"; } |
        cut -c1-250 | sed 's/^/    /' >&2
}

driver_of() {
    [[ -n ${VERSION:-$1} && ${VERSION:-$1} == "$1" ]] || { SKIPPED=yes; return 0; }
    SKIPPED=no CLIENT=$(basename "$FOLDER")-$1 DRIVER=${*@Q}
    DRIVER=${DRIVER#"${1@Q} "}
    ABSENT=" " WITHOUT="" SAYS=""
    if broker_runs; then stop_broker; fi
    rm -rf "$DATA"
    make_records
    start_broker auto.create.topics.enable=false
}
absent() { ABSENT+="$* "; }
without() { WITHOUT+="$* "; }
says() { SAYS+="$* "; }

run_all() {
    local name names=("${STORIES[@]}")
    [[ $SKIPPED == no ]] || return 0
    [[ ${QUICK:-no} == no ]] || names=("${QUICK_STORIES[@]}")
    for name in "${names[@]}"; do
        if [[ $ABSENT == *" $name "* ]]; then
            lacks "$name"
        else
            story "$name" driven "$name"
        fi
    done
}

# Stories that a client does not tell, for the table.
lacks() {
    [[ $WANTED != "  " ]] || printf "$CLIENT %s absent\n" "$@" >>"${RESULTS:-/dev/null}"
}

# A story of compat/drive/stories.py, which may ask for things to be done to the broker.
driven() {
    local what words teller status=0
    export BROKER DRIVER WITHOUT SAYS DATA RECORDS
    [[ $1 != killed ]] || expect_warning 'truncating the unsynced tail of the log' # a kill may tear a write
    mkfifo asked answers
    python3 "$ROOT/compat/drive/stories.py" "$1" 3>asked 4<answers &
    teller=$!
    exec 5<asked 6>answers
    while read -r what words <&5; do
        "$what" "$words"
        echo "done" >&6
    done
    wait "$teller" || status=$?
    return "$status"
}

# One story's command, traced into its log, in a folder of its own.
tell() {
    set -e
    cd "$WORK/story"
    exec 9>>"$WORK/story.log"
    BASH_XTRACEFD=9
    set -x
    "$@"
}

# Print what the broker logged since the last story and should not have; fail if there is any.
complaints() {
    tail -n "+$((log_lines_seen + 1))" "$LOG" >"$WORK/story.broker"
    log_lines_seen=$(wc -l <"$LOG")
    [[ ${AGAINST:-braid} == braid ]] || return 0
    ! grep -E 'WARN|ERROR|panicked' "$WORK/story.broker" | grep -vEf "$WORK/expected"
}

beside() {
    "${@:2}" >"$WORK/$1.log" 2>&1 &
    echo $! >>"$WORK/helpers"
}
end_helpers() { # before the last story; whatever becomes of this script, they end with it
    xargs -r kill <"$WORK/helpers"
    truncate -s 0 "$WORK/helpers"
}

of_braid_alone() {
    [[ ${AGAINST:-braid} == kafka ]] || return 0
    lacks "$@"
    echo "$CLIENT: of Braid alone, so not told to Apache Kafka" >&2
    trap - EXIT
    rm -rf "$WORK"
    exit 0
}

expect_warning() { echo "$1" >>"$WORK/expected"; }
note() { echo "$*" >"$WORK/note"; }

eventually() { # its errors are silent: most tries are too early
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
} 2>/dev/null

# Two ports below those that the system gives to connections: there nobody takes one while the broker is down.
free_ports() {
    python3 -c 'import random, socket
ports = []
while len(ports) < 2:
    try:
        ports.append(socket.create_server(("127.0.0.1", random.randrange(20000, 32000))))
    except OSError:
        pass
numbers = [port.getsockname()[1] for port in ports]
for port in ports:
    port.close()
print(*numbers)'
}

# A random cluster id as Kafka writes them; a dash in front would look like an option.
uuid() { echo "A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | head -c 21)"; }

# Set RECORDS, a file of 1,000,000 different lines of 100 bytes that compress about as well as logs do.
make_records() {
    RECORDS=$CACHE/records.txt
    [[ $(stat -c %s "$RECORDS" 2>/dev/null) == 101000000 ]] && return
    python3 "$ROOT/compat/records.py" >"$RECORDS.$$"
    mv "$RECORDS.$$" "$RECORDS" # whole: others may be reading it
}

# What the broker keeps of a topic's partition 0: `records=N codec=NAME producer=yes|no`.
kept() { python3 "$ROOT/compat/batches.py" "$DATA/$1-0/"*.log; }

# The processes below one: of this script they are its helpers, and all that a story left when it was interrupted.
descendants() {
    local child
    for child in $(pgrep -P "$1"); do
        echo "$child"
        descendants "$child"
    done
}

finish() {
    local status=$?
    descendants $$ | grep -vx "$(broker_pid)" >>"$WORK/helpers" || true
    end_helpers 2>/dev/null || true
    if broker_runs; then
        stop_broker && complaints >&2 || status=1
    fi
    rm -rf "$WORK"
    ((told > 0)) || { echo "$CLIENT: no story was told" >&2; status=1; }
    exit $((status != 0 || failed > 0))
}
