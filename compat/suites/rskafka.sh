# shellcheck shell=bash disable=SC2034,SC2164
# rskafka 0.6.0's tests, one process per test; those with Java classes or a SOCKS proxy skip themselves.
#
# Changed in the copy: a newer rsasl, as the one in its lock file does not compile today.
# shellcheck source=/dev/null
source "$FOLDER/rust.sh"
VERSION=0.6.0

install_suite() {
    UPDATE=rsasl rust_tests rskafka --features full
}

tests() {
    export TEST_INTEGRATION=1 TEST_BROKER_IMPL=kafka KAFKA_CONNECT=$BROKER
    of_rust rskafka
}
