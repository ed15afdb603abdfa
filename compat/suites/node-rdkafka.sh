# shellcheck shell=bash disable=SC2034,SC2164
# node-rdkafka 3.6.1's end-to-end tests, as mocha tells them, one after the other, as they share topics, which
# they want made, with one partition. A process per file, as one of them may crash the client; of the file
# whose tests may hang when they are over (see FINDINGS.md), a process per test.
VERSION=3.6.1

install_suite() {
    rm -rf "${SUITES:?}/node-rdkafka"
    cd "$SUITES"
    tar xzf "$(npm pack --silent "node-rdkafka@$VERSION")"
    mv package node-rdkafka
    cd node-rdkafka
    npm install --ignore-scripts --no-audit --no-fund
    npx node-gyp rebuild
}

tests() {
    local file title topic
    cd "$SUITES/node-rdkafka"
    for topic in test{,2,3,4,5,6}; do
        "$KAFKA_PATH/bin/kafka-topics.sh" --bootstrap-server "$BROKER" --create --topic "$topic" >&2
    done
    for file in e2e/{admin,consumer,groups,producer,producer-transaction}.spec.js; do
        mocha_tells 300 "$file"
    done
    node node_modules/.bin/mocha --dry-run --reporter json e2e/both.spec.js |
        python3 -c 'import json, sys
for test in json.load(sys.stdin)["tests"]:
    print(test["fullTitle"])' >"$LOGS/titles"
    while read -r title; do
        mocha_tells 60 e2e/both.spec.js --fgrep "$title"
    done <"$LOGS/titles"
}

mocha_tells() { # SECONDS FILE [OPTION]...
    local name
    name=$(basename "$2" .spec.js)
    rm -f "$LOGS/$name.xml"
    KAFKA_HOST=$BROKER timeout -k 5 "$1" \
        node node_modules/.bin/mocha --exit --timeout 30000 --reporter xunit \
        --reporter-option "output=$LOGS/$name.xml" "${@:2}" \
        </dev/null >>"$LOGS/$name.log" 2>&1 || true
    python3 "$FOLDER/junit.py" "$name" "$LOGS/$name.xml"
}
