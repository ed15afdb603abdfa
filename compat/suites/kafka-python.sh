# shellcheck shell=bash disable=SC2034,SC2164
# kafka-python 3.0.12's integration tests, as pytest tells them. Those of SASL and SSL start brokers of their
# own with files that are not in the package: the one skips itself, the other is left out. The consumers of the
# copy subscribe a little after they are made: at once, they may never ask for their topic (FINDINGS.md).
VERSION=3.0.12

install_suite() {
    rm -rf "${SUITES:?}/kafka-python"
    mkdir "$SUITES/kafka-python"
    cd "$SUITES/kafka-python"
    python3 -m venv venv
    venv/bin/pip install --quiet --disable-pip-version-check "kafka-python==$VERSION" \
        pytest==8.4.2 pytest-mock==3.15.1 pytest-timeout==2.4.0 py==1.11.0 \
        lz4==4.4.4 zstandard==0.25.0 python-snappy==0.7.3
    venv/bin/pip download --quiet --no-deps --no-binary kafka-python "kafka-python==$VERSION"
    tar xzf kafka_python-*.tar.gz --strip-components=1 --wildcards '*/test'
    touch test/__init__.py
    sed -i 's/^\( *\)c = KafkaConsumer(\*topics, /\1c = KafkaConsumer(/
        s/^\( *\)\(c = KafkaConsumer(\*\*params)\)$/\1\2\n\1__import__("time").sleep(0.2)\n\1c.subscribe(topics) if topics else None/' \
        test/integration/conftest.py
    grep -q 'c.subscribe(topics)' test/integration/conftest.py
    # The package lacks this module: what starts and stops brokers. Ours is there already.
    cat >test/service.py <<'PYTHON'
class SpawnedService:
    def __init__(self, *args, **options):
        raise RuntimeError("no broker can be started here")


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    close = stop = dump_logs = wait_for = lambda self, *args, **options: None
PYTHON
}

tests() {
    cd "$SUITES/kafka-python"
    for file in test/integration/test_{admin,consumer,producer,sasl}_integration.py; do
        echo "$file"
    done | in_parallel file_of_tests
}

file_of_tests() { # PATH
    local name
    name=$(basename "$1" .py)
    KAFKA_URI=kafka://$BROKER KAFKA_VERSION=4.3.0 KAFKA_ROOT=$KAFKA_PATH \
        timeout -k 5 1800 venv/bin/python -m pytest "$1" -p no:cacheprovider \
        -o addopts="" -o log_level=INFO --timeout=120 --timeout-method=signal \
        --junitxml "$LOGS/$name.xml" >"$LOGS/$name.log" 2>&1
    python3 "$FOLDER/junit.py" "$name" "$LOGS/$name.xml"
}
