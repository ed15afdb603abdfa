# shellcheck shell=bash disable=SC2034,SC2164
# rust-rdkafka 0.39.0's tests with its bundled librdkafka, one process per test.
# shellcheck source=/dev/null
source "$FOLDER/rust.sh"
VERSION=0.39.0

install_suite() { rust_tests rdkafka; }

tests() {
    export KAFKA_HOST=$BROKER KAFKA_VERSION=4.0
    of_rust rust-rdkafka
}
