# shellcheck shell=bash disable=SC2034,SC2164
# ClientCompatibilityTest of Apache Kafka 4.3.1: its own system tests run it against brokers of all ages.
VERSION=4.3.1

install_suite() { :; } # scripts/install has it among Kafka's tools

tests() {
    local began result=pass
    began=$(date +%s%N)
    timeout 120 "$KAFKA_PATH/bin/kafka-run-class.sh" org.apache.kafka.tools.ClientCompatibilityTest \
        --bootstrap-server "$BROKER" --topic compatible --num-cluster-nodes 1 \
        --offsets-for-times-supported true --cluster-id-supported true --create-topics-supported true \
        --describe-configs-supported true --idempotent-producer-supported true \
        --describe-acls-supported true --expect-record-too-large-exception false \
        >"$LOGS/all.log" 2>&1 || result=fail
    echo "ClientCompatibilityTest $result $(since "$began")"
}
