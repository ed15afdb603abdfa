# shellcheck shell=bash disable=SC2034,SC2164
# Those of librdkafka's tests that want a broker which does not make topics that it is asked for.
# shellcheck source=/dev/null
source "$FOLDER/librdkafka.sh"

install_suite() { "$FOLDER/install" librdkafka; }
tests() { of_librdkafka noautocreate; }
