// The client of transform.py with Apache Kafka's Java client. It ends at the first exception, as a crash
// would.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Transform {
    static final int PARTITIONS = 4;
    static final BufferedReader ANSWERS = new BufferedReader(new InputStreamReader(System.in));

    public static void main(String[] args) throws IOException {
        String broker = args[0];
        String topic = args[1];
        var producer = new KafkaProducer<>(
                Map.<String, Object>of("bootstrap.servers", broker, "transactional.id", topic),
                new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        var consumer = new KafkaConsumer<>(
                Map.<String, Object>of("bootstrap.servers", broker, "group.id", topic,
                        "group.instance.id", topic, "session.timeout.ms", 20000,
                        "isolation.level", "read_committed", "enable.auto.commit", false,
                        "auto.offset.reset", "earliest", "max.poll.records", 50),
                new StringDeserializer(), new StringDeserializer());
        consumer.subscribe(List.of(topic + "-in"));
        while (true) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
            if (!records.isEmpty()) {
                transform(records, producer, consumer, topic + "-out");
            }
        }
    }

    static void transform(ConsumerRecords<String, String> records, KafkaProducer<String, String> producer,
            KafkaConsumer<String, String> consumer, String output) throws IOException {
        String fate = step("begin " + records.count());
        producer.beginTransaction();
        Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
        Map<TopicPartition, Long> first = new HashMap<>();
        for (ConsumerRecord<String, String> record : records) {
            var place = new TopicPartition(record.topic(), record.partition());
            first.putIfAbsent(place, record.offset());
            next.put(place, new OffsetAndMetadata(record.offset() + 1));
            int partition = (int) ((record.partition() + record.offset()) % PARTITIONS);
            producer.send(new ProducerRecord<>(output, partition,
                    record.partition() + ":" + record.offset(),
                    fate + " " + new StringBuilder(record.value()).reverse()));
        }
        producer.flush();
        step("sent");
        producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
        step("ready");
        if (fate.startsWith("commit")) {
            producer.commitTransaction();
            step("committed");
        } else {
            producer.abortTransaction();
            first.forEach(consumer::seek);
            step("aborted");
        }
    }

    static String step(String step) throws IOException {
        System.out.println(step);
        System.out.flush();
        return ANSWERS.readLine();
    }
}
