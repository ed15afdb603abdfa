import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.AcknowledgingMessageListener;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.support.Acknowledgment;
import org.springframework.kafka.support.SendResult;
import org.springframework.kafka.support.TopicPartitionOffset;
import org.springframework.kafka.transaction.KafkaTransactionManager;
import org.springframework.transaction.TransactionStatus;

/**
 * The driver of Spring for Apache Kafka: what is sent goes through a KafkaTemplate, in transactions of a
 * KafkaTransactionManager; what comes is given to a listener in a container; topics are made by a KafkaAdmin. What
 * Spring has nothing for is left to the Java client beneath it.
 */
public class SpringDriver extends Driver {
    private record Arrival(ConsumerRecord<String, String> record, Acknowledgment acknowledgment) {}

    private final KafkaAdmin topics = new KafkaAdmin(settings());
    private DefaultKafkaProducerFactory<String, String> producers;
    private KafkaTemplate<String, String> template;
    private KafkaTransactionManager<String, String> transactions;
    private TransactionStatus transaction;
    private KafkaMessageListenerContainer<String, String> container;
    private LinkedBlockingQueue<Arrival> arrived;
    private List<Arrival> polled;
    private Map<TopicPartition, Long> committed;

    public static void main(String[] arguments) throws Exception {
        serve(new SpringDriver(arguments[0]));
    }

    private SpringDriver(String broker) {
        super(broker);
        topics.setFatalIfBrokerNotAvailable(true);
        topics.setOperationTimeout(10);
    }

    // ---- topics

    /** KafkaAdmin leaves alone a topic that is there: the refusal is the Java client's. */
    @Override
    protected Object create(NewTopic topic) throws Exception {
        if (admin.listTopics().names().get().contains(topic.name())) {
            return super.create(topic);
        }
        topics.createOrModifyTopics(topic);
        return null;
    }

    @Override
    protected Object delete(String topic) {
        topics.deleteTopics(topic);
        return null;
    }

    @Override
    protected int partitions(String topic) {
        return topics.describeTopics(topic).get(topic).partitions().size();
    }

    // ---- producing

    @Override
    protected Object makeProducer(JsonNode call) {
        closeProducer();
        Map<String, Object> settings = producerSettings(call);
        producers = new DefaultKafkaProducerFactory<>(settings, new StringSerializer(), new StringSerializer());
        template = new KafkaTemplate<>(producers);
        transactions = producers.transactionCapable() ? new KafkaTransactionManager<>(producers) : null;
        return null;
    }

    @Override
    protected void begin() {
        transaction = transactions.getTransaction(null);
    }

    @Override
    protected void endTransaction(boolean commit) {
        if (commit) {
            transactions.commit(transaction);
        } else {
            transactions.rollback(transaction);
        }
    }

    @Override
    protected void sendOffsets(Map<TopicPartition, OffsetAndMetadata> offsets, String group) {
        template.sendOffsetsToTransaction(offsets, new ConsumerGroupMetadata(group));
    }

    @Override
    protected Future<RecordMetadata> send(ProducerRecord<String, String> message) {
        return template.send(message).thenApply(SendResult::getRecordMetadata);
    }

    private void closeProducer() {
        if (producers != null) {
            producers.destroy();
        }
    }

    // ---- consuming

    @Override
    protected Object makeConsumer(JsonNode call) {
        List<String> names = new ArrayList<>();
        call.get("topics").forEach(name -> names.add(name.asText()));
        return listen(call, new ContainerProperties(names.toArray(String[]::new)));
    }

    @Override
    protected Object assign(JsonNode call) {
        TopicPartition place = place(call);
        TopicPartitionOffset from = switch (text(call, "offset")) {
            case "earliest" -> new TopicPartitionOffset(place, null, TopicPartitionOffset.SeekPosition.BEGINNING);
            case "latest" -> new TopicPartitionOffset(place, null, TopicPartitionOffset.SeekPosition.END);
            default -> new TopicPartitionOffset(place, call.get("offset").asLong(), null);
        };
        ContainerProperties properties = new ContainerProperties(from);
        properties.setGroupId("alone"); // a container has one, though nothing is committed
        return listen(call, properties);
    }

    private Object listen(JsonNode call, ContainerProperties properties) {
        var into = new LinkedBlockingQueue<Arrival>();
        var committing = new ConcurrentHashMap<TopicPartition, Long>();
        arrived = into;
        committed = committing;
        polled = new ArrayList<>();
        properties.setPollTimeout(500);
        properties.setAckMode(ContainerProperties.AckMode.MANUAL_IMMEDIATE);
        properties.setAssignmentCommitOption(ContainerProperties.AssignmentCommitOption.NEVER);
        properties.setSyncCommits(false); // a commit is the container's own work, and the callback tells of its end
        properties.setCommitCallback((offsets, error) -> {
            if (error == null) {
                offsets.forEach((place, offset) -> committing.merge(place, offset.offset(), Math::max));
            }
        });
        properties.setMessageListener((AcknowledgingMessageListener<String, String>)
                (record, acknowledgment) -> into.add(new Arrival(record, acknowledgment)));
        container = new KafkaMessageListenerContainer<>(new DefaultKafkaConsumerFactory<>(
                consumerSettings(call), new StringDeserializer(), new StringDeserializer()), properties);
        container.start();
        return null;
    }

    @Override
    protected Iterable<ConsumerRecord<String, String>> poll(Duration wait) throws Exception {
        List<Arrival> now = new ArrayList<>();
        Arrival first = arrived.poll(wait.toMillis(), TimeUnit.MILLISECONDS);
        if (first != null) {
            now.add(first);
            Thread.sleep(50); // what comes together is given together
            arrived.drainTo(now);
        }
        polled.addAll(now);
        return now.stream().map(Arrival::record).toList();
    }

    @Override
    protected Collection<TopicPartition> owned() {
        Collection<TopicPartition> owned = container.getAssignedPartitions();
        return owned == null ? List.of() : owned;
    }

    @Override
    protected void commit() throws Exception {
        Map<TopicPartition, Long> wanted = new HashMap<>();
        for (Arrival one : polled) {
            wanted.put(new TopicPartition(one.record.topic(), one.record.partition()), one.record.offset() + 1);
            one.acknowledgment.acknowledge();
        }
        polled.clear();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (wanted.entrySet().stream().anyMatch(one -> committed.getOrDefault(one.getKey(), 0L) < one.getValue())) {
            if (System.nanoTime() > deadline) {
                throw new TimeoutException("not committed: " + wanted);
            }
            Thread.sleep(5);
        }
    }

    @Override
    protected Object closeConsumer() {
        container.stop();
        container = null;
        return null;
    }

    @Override
    protected void end() {
        if (container != null) {
            container.stop();
        }
        closeProducer();
        admin.close();
    }
}
