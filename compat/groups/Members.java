import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Scanner;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A process that holds members of groups, each in its thread: what members.py does, in Java.
 *
 * Members ADDRESS TOPIC consumer|eager|cooperative SESSION-MS HEARTBEAT-MS
 *
 * It is told `join NAME GROUP` and `leave NAME` on stdin, and ends when stdin does. hosts.py says what it prints.
 */
public class Members {
    static final long COMMIT_EACH_NS = 500_000_000L;
    static final String ASSIGNORS = "org.apache.kafka.clients.consumer.";

    public static void main(String[] args) {
        Map<String, Member> members = new HashMap<>();
        Scanner told = new Scanner(System.in);
        while (told.hasNext()) {
            if (told.next().equals("join")) {
                String name = told.next();
                members.put(name, new Member(name, args[1], settings(args, name, told.next())));
                members.get(name).start();
            } else {
                members.get(told.next()).leaving = true;
            }
        }
    }

    static Properties settings(String[] args, String name, String group) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("group.id", group);
        settings.put("client.id", name);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
        settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
        if (args[2].equals("consumer")) {
            settings.put("group.protocol", "consumer");
        } else {
            boolean eager = args[2].equals("eager");
            settings.put("session.timeout.ms", args[3]);
            settings.put("heartbeat.interval.ms", args[4]);
            settings.put("partition.assignment.strategy",
                ASSIGNORS + (eager ? "RangeAssignor" : "CooperativeStickyAssignor"));
        }
        return settings;
    }

    static class Member extends Thread implements ConsumerRebalanceListener {
        final String name, topic;
        final Properties settings;
        volatile boolean leaving;
        KafkaConsumer<byte[], byte[]> consumer;
        // Of what it owns and has read of.
        final Map<Integer, Long> committed = new TreeMap<>(), position = new TreeMap<>();

        Member(String name, String topic, Properties settings) {
            this.name = name;
            this.topic = topic;
            this.settings = settings;
        }

        void tell(String words) {
            System.out.println("event " + System.nanoTime() + " " + name + " " + words);
        }

        @Override public void run() {
            consumer = new KafkaConsumer<>(settings);
            tell("joining");
            consumer.subscribe(List.of(topic), this);
            long due = System.nanoTime() + COMMIT_EACH_NS;
            while (!leaving) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    read(record);
                }
                if (System.nanoTime() > due) {
                    commit();
                    due = System.nanoTime() + COMMIT_EACH_NS;
                }
            }
            tell("leaving");
            commit();
            consumer.close();
            tell("left");
        }

        void read(ConsumerRecord<byte[], byte[]> record) {
            int partition = record.partition();
            Long expected = position.get(partition);
            if (expected == null) {
                tell("first " + partition + ":" + record.offset());
                committed.put(partition, record.offset());
            } else if (expected != record.offset()) {
                tell("gap " + partition + ":" + expected + "-" + record.offset());
            }
            position.put(partition, record.offset() + 1);
        }

        void commit() {
            Map<TopicPartition, OffsetAndMetadata> moved = new HashMap<>();
            StringBuilder ranges = new StringBuilder();
            position.forEach((partition, to) -> {
                if (!to.equals(committed.get(partition))) {
                    moved.put(new TopicPartition(topic, partition), new OffsetAndMetadata(to));
                    ranges.append(" " + partition + ":" + committed.get(partition) + "-" + to);
                }
            });
            if (moved.isEmpty()) {
                return;
            }
            tell("committing" + ranges);
            try {
                consumer.commitSync(moved);
                moved.forEach((partition, to) -> committed.put(partition.partition(), to.offset()));
                tell("committed");
            } catch (KafkaException refusal) {
                // A rebalance in progress is retriable, but known to have committed nothing.
                String error = refusal.getClass().getSimpleName();
                boolean unknown = refusal instanceof RetriableException && !error.startsWith("Rebalance");
                tell("refused " + error + (unknown ? " unknown" : " known"));
            }
        }

        @Override public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            tell("assigned" + numbers(partitions));
        }

        @Override public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            commit();
            forget("revoked", partitions);
        }

        @Override public void onPartitionsLost(Collection<TopicPartition> partitions) {
            forget("lost", partitions);
        }

        void forget(String how, Collection<TopicPartition> partitions) {
            for (TopicPartition partition : partitions) {
                position.remove(partition.partition());
                committed.remove(partition.partition());
            }
            tell(how + numbers(partitions));
        }

        static String numbers(Collection<TopicPartition> partitions) {
            return partitions.stream().map(p -> " " + p.partition()).collect(Collectors.joining());
        }
    }
}
