# shellcheck shell=bash disable=SC2034,SC2164
# librdkafka 2.12.1's tests, all of each (the runner's -Q would leave out most subtests), one process per
# number, as a test that takes too long takes the runner with it. Those that need no broker, or bring a mock
# one, are left out.
#
# Changed in the copy: topics with three replicas get one, which is all that one broker can give.
VERSION=2.12.1

install_suite() {
    vendored rdkafka-sys librdkafka
    bash ./configure
    make -j2 libs
    cd tests
    local partitions='(partition_cnt|part_cnt_[12]|[0-9]+)'
    sed -i -E "s/(create_topic(_wait_exists)?\([^;]*, *$partitions, *)3(, *5000\)|\);)/\11\4/" \
        0098*.cpp 0103*.c 0107*.c 0111*.cpp 0126*.c 0142*.c
    make -j2 build
    KAFKA_PATH=$SUITES/tools make -s java
}

tests() { of_librdkafka default; }

of_librdkafka() { # SCENARIO, of the broker's settings
    # shellcheck disable=SC2153 # not a misspelling of it
    export SCENARIO=$1 BROKERS=$BROKER LD_LIBRARY_PATH=../src:../src-cpp RDKAFKA_TEST_CONF=$LOGS/test.conf
    cd "$SUITES/librdkafka/tests"
    printf '%s\n' "bootstrap.servers=$BROKER" \
        broker.address.family=v4 test.topic.random=true >"$RDKAFKA_TEST_CONF"
    # One line per number, with the names of its tests: test.c has a table of them.
    tr -d '\n ' <test.c | sed 's/_TEST(/\n&/g' | grep -E '^_TEST\([0-9]{4}_' |
        grep -vE 'TEST_F_(LOCAL|MANUAL)|^_TEST\((0139|0150)_' |
        if [[ $SCENARIO == noautocreate ]]; then grep noautocreate; else grep -v noautocreate; fi |
        sed -E 's/^_TEST\((\w+),.*/\1/' | grep -E "^(${AMONG:-.*})" | grep -E "$ONLY" |
        awk -F_ '{ names[$1] = names[$1] " " $0 } END { for (n in names) print n names[n] }' | sort |
        in_parallel number
}

number() { # "NUMBER NAME...": the runner prints a row `| NAME | STATE | SECONDS...` per test
    local name names version=4.0.0 known=()
    read -r -a names <<<"$1"
    [[ ${names[0]} != 0092 ]] || version=3.9.0 # it is not for brokers of version 4
    [[ ! ${names[0]} =~ 0028|0047 ]] || known=(-k) # only those with a known issue, which they are
    TESTS=${names[0]} TEST_KAFKA_VERSION=$version timeout -s KILL 700 \
        ./test-runner -p1 "${known[@]}" -L -s "$SCENARIO" >"$LOGS/${names[0]}.log" 2>&1
    for name in "${names[@]:1}"; do
        sed 's/\x1b[^m]*m//g' "$LOGS/${names[0]}.log" | awk -F'|' -v name="$name" '
            { gsub(/ /, "", $2); gsub(/ /, "", $3) }
            $2 == name { state = $3; seconds = $4 + 0 }
            END {
                result = "fail"
                if (state ~ /^(PASSED|SKIPPED|DNS)$/) result = "skip"
                if (state == "PASSED" && seconds > 0) result = "pass"
                printf "%s %s %.1f\n", name, result, seconds
            }'
    done
}
