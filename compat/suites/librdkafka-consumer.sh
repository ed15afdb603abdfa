# shellcheck shell=bash disable=SC2034,SC2164
# Those of librdkafka's tests that subscribe, told with group.protocol=consumer (KIP-848).
# shellcheck source=/dev/null
source "$FOLDER/librdkafka.sh"

install_suite() { "$FOLDER/install" librdkafka; }
tests() {
    export TEST_CONSUMER_GROUP_PROTOCOL=consumer
    AMONG=$(cd "$SUITES/librdkafka/tests" && grep -l 'subscribe(' 0*.c 0*.cpp | cut -c1-4 | sort -u | paste -sd'|')
    of_librdkafka default
}
