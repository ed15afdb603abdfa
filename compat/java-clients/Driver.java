import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The driver of the Java client, of any version: it does what compat/drive/protocol.md says. */
public class Driver {
    protected static final ObjectMapper JSON = new ObjectMapper();
    private final String broker;
    protected final AdminClient admin;
    private KafkaProducer<String, String> producer;
    private KafkaConsumer<String, String> consumer;

    public static void main(String[] arguments) throws Exception {
        serve(new Driver(arguments[0]));
    }

    /** Answers the calls on the input until it ends. */
    protected static void serve(Driver driver) throws Exception {
        PrintStream answers = System.out;
        System.setOut(System.err);
        BufferedReader calls = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = calls.readLine(); line != null; line = calls.readLine()) {
            answers.println(JSON.writeValueAsString(driver.answer(JSON.readTree(line))));
        }
        driver.end();
        System.exit(0);
    }

    protected Driver(String broker) {
        this.broker = broker;
        admin = AdminClient.create(settings());
    }

    protected Map<String, Object> settings() {
        return new HashMap<>(Map.of("bootstrap.servers", broker));
    }

    private Map<String, Object> answer(JsonNode call) {
        try {
            return Collections.singletonMap("ok", told(call));
        } catch (Exception wrapped) {
            wrapped.printStackTrace();
            // UNKNOWN_SERVER_ERROR, -1, stands for whatever is no exception of the protocol's, nor around one
            Throwable error = wrapped;
            while (error.getCause() != null && !(error instanceof ApiException)) {
                error = error.getCause();
            }
            return Map.of("error", Map.of("code", Errors.forException(error).code(),
                    "type", error.getClass().getSimpleName(), "text", String.valueOf(error.getMessage())));
        }
    }

    private Object told(JsonNode call) throws Exception {
        switch (call.get("do").asText()) {
            case "create": return create(newTopic(call));
            case "delete": return delete(topic(call));
            case "topics": return admin.listTopics().names().get();
            case "metadata": return metadata(topic(call));
            case "producer": return makeProducer(call);
            case "send": return send(call);
            case "begin": begin(); return null;
            case "commit_transaction": endTransaction(true); return null;
            case "abort_transaction": endTransaction(false); return null;
            case "send_offsets": sendOffsets(offset(call), text(call, "group")); return null;
            case "consumer": return makeConsumer(call);
            case "assign": return assign(call);
            case "poll": return poll(call.get("ms").asInt());
            case "assignment": return assignment();
            case "commit": commit(); return null;
            case "close": return closeConsumer();
            case "committed": return committed(call);
            case "range": return range(place(call));
            case "at_time": return atTime(place(call), call.get("time").asLong());
            case "add_partitions": return admin.createPartitions(
                    Map.of(topic(call), NewPartitions.increaseTo(call.get("total").asInt()))).all().get();
            case "get_config": return admin.describeConfigs(Set.of(resource(call))).all().get().get(resource(call))
                    .get(text(call, "name")).value();
            case "set_config":
                return Since.setConfig(admin, resource(call), text(call, "name"), text(call, "value")).get();
            case "groups": return groups();
            case "describe_group": return describeGroup(text(call, "group"));
            case "delete_group": return admin.deleteConsumerGroups(Set.of(text(call, "group"))).all().get();
            case "alter_offsets": return Since.alterOffsets(admin, text(call, "group"), offset(call)).get();
            case "delete_records": return admin.deleteRecords(
                    Map.of(place(call), RecordsToDelete.beforeOffset(call.get("before").asLong()))).all().get();
            default: throw new IllegalArgumentException(call.get("do").asText());
        }
    }

    protected static String text(JsonNode call, String name) {
        return call.hasNonNull(name) ? call.get(name).asText() : null;
    }

    protected static String topic(JsonNode call) {
        return text(call, "topic");
    }

    protected static TopicPartition place(JsonNode call) {
        return new TopicPartition(topic(call), call.get("partition").asInt());
    }

    protected static Map<TopicPartition, OffsetAndMetadata> offset(JsonNode call) {
        return Map.of(place(call), new OffsetAndMetadata(call.get("offset").asLong()));
    }

    private static ConfigResource resource(JsonNode call) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic(call));
    }

    /** Those of the call's arguments that are given, by the names that the client has for them. */
    private static void settle(Map<String, Object> settings, JsonNode call, String... names) {
        for (int i = 0; i < names.length; i += 2) {
            if (call.hasNonNull(names[i])) {
                settings.put(names[i + 1], call.get(names[i]).asText());
            }
        }
    }

    // ---- topics

    protected Object create(NewTopic topic) throws Exception {
        return admin.createTopics(List.of(topic)).all().get();
    }

    private static NewTopic newTopic(JsonNode call) {
        short replicas = (short) (call.has("replicas") ? call.get("replicas").asInt() : 1);
        NewTopic topic = new NewTopic(topic(call), call.get("partitions").asInt(), replicas);
        if (call.has("config")) {
            topic.configs(JSON.convertValue(call.get("config"), Map.class));
        }
        return topic;
    }

    protected Object delete(String topic) throws Exception {
        return admin.deleteTopics(List.of(topic)).all().get();
    }

    protected int partitions(String topic) throws Exception {
        return Since.describeTopic(admin, topic).partitions().size();
    }

    private Object metadata(String topic) throws Exception {
        List<String> brokers = new ArrayList<>();
        for (Node node : admin.describeCluster().nodes().get()) {
            brokers.add(node.host() + ":" + node.port());
        }
        return Map.of("brokers", brokers, "partitions", partitions(topic));
    }

    // ---- producing

    protected Map<String, Object> producerSettings(JsonNode call) {
        Map<String, Object> settings = settings();
        settings.putAll(Map.of("acks", "all", "linger.ms", 5, "max.block.ms", 20_000));
        settings.put("max.request.size", 2_000_000);
        settings.put("retries", Integer.MAX_VALUE);
        settle(settings, call, "acks", "acks", "codec", "compression.type", "refresh_ms", "metadata.max.age.ms",
                "transactional_id", "transactional.id");
        boolean idempotent = call.has("idempotent") || call.has("transactional_id");
        settings.put("enable.idempotence", idempotent);
        return settings;
    }

    protected Object makeProducer(JsonNode call) {
        if (producer != null) {
            producer.close();
        }
        producer = new KafkaProducer<>(producerSettings(call), new StringSerializer(), new StringSerializer());
        if (call.has("transactional_id")) {
            producer.initTransactions();
        }
        return null;
    }

    protected void begin() {
        producer.beginTransaction();
    }

    protected void endTransaction(boolean commit) {
        if (commit) {
            producer.commitTransaction();
        } else {
            producer.abortTransaction();
        }
    }

    protected void sendOffsets(Map<TopicPartition, OffsetAndMetadata> offsets, String group) {
        Since.sendOffsets(producer, offsets, group);
    }

    protected Future<RecordMetadata> send(ProducerRecord<String, String> message) {
        return producer.send(message);
    }

    private Object send(JsonNode call) throws Exception {
        Integer partition = call.hasNonNull("partition") ? call.get("partition").asInt() : null;
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode record : call.get("records")) {
            Long time = record.hasNonNull("time") ? record.get("time").asLong() : null;
            ProducerRecord<String, String> message =
                    new ProducerRecord<>(topic(call), partition, time, text(record, "key"), text(record, "value"));
            for (JsonNode header : record.path("headers")) {
                byte[] octets = header.get(1).isNull() ? null : header.get(1).asText().getBytes(StandardCharsets.UTF_8);
                message.headers().add(header.get(0).asText(), octets);
            }
            sent.add(send(message));
        }
        List<Long> offsets = new ArrayList<>();
        for (Future<RecordMetadata> one : sent) {
            offsets.add(one.get().offset());
        }
        return offsets;
    }

    // ---- consuming

    protected Map<String, Object> consumerSettings(JsonNode call) {
        Map<String, Object> settings = settings();
        settings.putAll(Map.of("enable.auto.commit", false, "auto.offset.reset", "earliest", "max.poll.records", 10_000));
        settle(settings, call, "group", "group.id", "instance", "group.instance.id", "isolation", "isolation.level",
                "refresh_ms", "metadata.max.age.ms", "min_bytes", "fetch.min.bytes", "wait_ms", "fetch.max.wait.ms");
        if (call.has("min_bytes")) {
            settings.put("max.partition.fetch.bytes", 2_000_000);
        }
        if ("consumer".equals(text(call, "protocol"))) {
            settings.put("group.protocol", "consumer");
        } else {
            settings.putAll(Map.of("session.timeout.ms", 6000, "heartbeat.interval.ms", 500));
            settle(settings, call, "session_ms", "session.timeout.ms");
        }
        if ("cooperative".equals(text(call, "assignor"))) {
            settings.put("partition.assignment.strategy",
                    "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        }
        return settings;
    }

    protected Object makeConsumer(JsonNode call) {
        consumer = new KafkaConsumer<>(consumerSettings(call), new StringDeserializer(), new StringDeserializer());
        consumer.subscribe((Collection<String>) JSON.convertValue(call.get("topics"), List.class));
        return null;
    }

    protected Object assign(JsonNode call) {
        consumer = new KafkaConsumer<>(consumerSettings(call), new StringDeserializer(), new StringDeserializer());
        TopicPartition place = place(call);
        consumer.assign(List.of(place));
        String offset = text(call, "offset");
        if (offset.equals("earliest")) {
            consumer.seekToBeginning(List.of(place));
        } else if (offset.equals("latest")) {
            consumer.seekToEnd(List.of(place));
            consumer.position(place);
        } else {
            consumer.seek(place, call.get("offset").asLong());
        }
        return null;
    }

    protected Iterable<ConsumerRecord<String, String>> poll(Duration wait) throws Exception {
        return consumer.poll(wait);
    }

    private Object poll(int ms) throws Exception {
        List<Map<String, Object>> polled = new ArrayList<>();
        for (ConsumerRecord<String, String> record : poll(Duration.ofMillis(ms))) {
            List<List<String>> headers = new ArrayList<>();
            for (Header header : record.headers()) {
                List<String> pair = new ArrayList<>(List.of(header.key()));
                pair.add(header.value() == null ? null : new String(header.value(), StandardCharsets.UTF_8));
                headers.add(pair);
            }
            Map<String, Object> found = new HashMap<>(Map.of("partition", record.partition(), "offset", record.offset(),
                    "headers", headers, "time", record.timestamp()));
            found.put("key", record.key());
            found.put("value", record.value());
            polled.add(found);
        }
        return polled;
    }

    protected Collection<TopicPartition> owned() {
        return consumer.assignment();
    }

    private Object assignment() {
        Set<String> names = new TreeSet<>();
        owned().forEach(place -> names.add(place.toString()));
        return names;
    }

    protected void commit() throws Exception {
        consumer.commitSync();
    }

    protected Object closeConsumer() {
        consumer.close();
        consumer = null;
        return null;
    }

    // ---- asking

    private Object committed(JsonNode call) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> found =
                admin.listConsumerGroupOffsets(text(call, "group")).partitionsToOffsetAndMetadata().get();
        List<Long> offsets = new ArrayList<>();
        for (JsonNode partition : call.get("partitions")) {
            OffsetAndMetadata offset = found.get(new TopicPartition(topic(call), partition.asInt()));
            offsets.add(offset == null ? -1 : offset.offset());
        }
        return offsets;
    }

    /** A consumer that only asks: the admin client cannot, before 2.5. */
    private KafkaConsumer<byte[], byte[]> asking() {
        return new KafkaConsumer<>(settings(), new ByteArrayDeserializer(),
                new ByteArrayDeserializer());
    }

    private Object range(TopicPartition place) {
        try (KafkaConsumer<byte[], byte[]> asking = asking()) {
            return List.of(asking.beginningOffsets(Set.of(place)).get(place), asking.endOffsets(Set.of(place)).get(place));
        }
    }

    private Object atTime(TopicPartition place, long time) {
        try (KafkaConsumer<byte[], byte[]> asking = asking()) {
            OffsetAndTimestamp found = asking.offsetsForTimes(Map.of(place, time)).get(place);
            return found == null ? -1 : found.offset();
        }
    }

    private Object groups() throws Exception {
        List<String> names = new ArrayList<>();
        for (ConsumerGroupListing group : admin.listConsumerGroups().all().get()) {
            names.add(group.groupId());
        }
        return names;
    }

    private Object describeGroup(String name) throws Exception {
        ConsumerGroupDescription group = admin.describeConsumerGroups(List.of(name)).all().get().get(name);
        return Map.of("state", group.state().toString(), "members", group.members().size());
    }

    protected void end() {
        if (consumer != null) {
            consumer.close();
        }
        if (producer != null) {
            producer.close();
        }
        admin.close();
    }
}
