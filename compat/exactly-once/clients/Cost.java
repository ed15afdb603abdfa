// What transactions cost: records per second of an idempotent producer, plainly and in transactions of 100
// and of 10,000 records. Each way runs three times on each broker, in turns. For each broker a line with the
// medians is printed: plain, 100, 10,000.

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Cost {
    static final String TOPIC = "cost";
    static final int RUNS = 3;
    static final int[] PER_TRANSACTION = {0, 100, 10_000}; // 0: no transactions
    static final int[] RECORDS = {500_000, 50_000, 500_000};

    public static void main(String[] brokers) {
        double[][][] perSecond = new double[brokers.length][PER_TRANSACTION.length][RUNS];
        for (String broker : brokers) {
            measure(broker, 0, 200_000); // warm up
            measure(broker, 100, 5_000);
        }
        for (int run = 0; run < RUNS; run++) {
            for (int way = 0; way < PER_TRANSACTION.length; way++) {
                for (int broker = 0; broker < brokers.length; broker++) {
                    perSecond[broker][way][run] =
                            measure(brokers[broker], PER_TRANSACTION[way], RECORDS[way]);
                }
            }
        }
        for (double[][] ways : perSecond) {
            StringBuilder medians = new StringBuilder();
            for (double[] runs : ways) {
                Arrays.sort(runs);
                medians.append(Math.round(runs[RUNS / 2])).append(' ');
            }
            System.out.println(medians.toString().trim());
        }
    }

    static double measure(String broker, int perTransaction, int records) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", broker));
        if (perTransaction > 0) {
            settings.put("transactional.id", TOPIC);
        }
        byte[] value = new byte[100];
        new Random(1).nextBytes(value);
        var bytes = new ByteArraySerializer();
        try (var producer = new KafkaProducer<>(settings, bytes, bytes)) {
            if (perTransaction > 0) {
                producer.initTransactions();
            }
            producer.partitionsFor(TOPIC);
            long began = System.nanoTime();
            for (int n = 0; n < records; n++) {
                if (perTransaction > 0 && n % perTransaction == 0) {
                    producer.beginTransaction();
                }
                producer.send(new ProducerRecord<>(TOPIC, value), (placed, error) -> {
                    if (error != null) {
                        error.printStackTrace();
                        Runtime.getRuntime().halt(1);
                    }
                });
                if (perTransaction > 0 && (n + 1) % perTransaction == 0) {
                    producer.commitTransaction();
                }
            }
            producer.flush();
            return records * 1e9 / (System.nanoTime() - began);
        }
    }
}
