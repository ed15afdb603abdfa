import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.Iterator;

import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.PrimitiveRef;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.LogValidator;

/**
 * What Kafka makes of the batches of frames.py, read from standard input: a line each of name, tab, batch. Prints
 * the name, what a consumer reads, and what a broker says that is asked to append it.
 */
public class Frames {
    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            int tab = line.indexOf('\t');
            byte[] batch = HexFormat.of().parseHex(line.substring(tab + 1));
            System.out.println(line.substring(0, tab) + "\t" + consume(batch) + "\t" + append(batch));
        }
    }

    static MemoryRecords records(byte[] batch) {
        return MemoryRecords.readableRecords(ByteBuffer.wrap(batch.clone()));
    }

    /** How many records come out of it, as CompletedFetch reads them. */
    static String consume(byte[] bytes) {
        int count = 0;
        try (BufferSupplier buffers = BufferSupplier.create()) {
            for (RecordBatch batch : records(bytes).batches()) {
                batch.ensureValid();
                try (var iterator = batch.streamingIterator(buffers)) {
                    for (Iterator<Record> each = iterator; each.hasNext(); count++) {
                        Record record = each.next();
                        record.ensureValid();
                        record.headers();
                    }
                }
            }
            return String.valueOf(count);
        } catch (Throwable error) {
            System.err.println(error);
            return "fails";
        }
    }

    static String append(byte[] bytes) {
        CompressionType type = records(bytes).batches().iterator().next().compressionType();
        var validator = new LogValidator(records(bytes), new TopicPartition("t", 0), Time.SYSTEM, type,
            Compression.of(type).build(), false, RecordBatch.MAGIC_VALUE_V2, TimestampType.CREATE_TIME,
            Long.MAX_VALUE, Long.MAX_VALUE, 0, AppendOrigin.CLIENT);
        try {
            validator.validateMessagesAndAssignOffsets(PrimitiveRef.ofLong(0), new Unmetered(), BufferSupplier.create());
            return "accepts";
        } catch (Throwable error) {
            return "refuses";
        }
    }

    static class Unmetered implements LogValidator.MetricsRecorder {
        public void recordInvalidMagic() { }
        public void recordInvalidOffset() { }
        public void recordInvalidSequence() { }
        public void recordInvalidChecksums() { }
        public void recordNoKeyCompactedTopic() { }
    }
}
