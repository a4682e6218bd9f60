package topicmill;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerInterceptor;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;

/**
 * The transformer on Kafka Streams, at least once.
 *
 * <pre>peer CODEC BROKERS SOURCE DESTINATION GROUP COUNT</pre>
 *
 * CODEC is none, lz4 or zstd; it ends after COUNT events and prints the seconds from the first
 * message to the last acknowledgement. With DELIVERY=exactly-once in the environment it commits in transactions,
 * every 100 ms.
 */
public final class Peer {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final CountDownLatch DONE = new CountDownLatch(1);
    private static final AtomicLong ACKNOWLEDGED = new AtomicLong();
    private static volatile long started;
    private static long count;

    /** An event as it is read and written. */
    public record Event(
        @JsonProperty("first_name") String firstName,
        @JsonProperty("last_name") String lastName,
        @JsonProperty("hash") String hash) {}

    public static void main(String[] args) throws Exception {
        if (args.length != 6) {
            System.err.println("usage: peer none|lz4|zstd BROKERS SOURCE DESTINATION GROUP COUNT");
            System.exit(2);
        }
        count = Long.parseLong(args[5]);
        StreamsBuilder builder = new StreamsBuilder();
        builder.<byte[], byte[]>stream(args[2]).mapValues(Peer::transform).to(args[3]);
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(args[0], args[1], args[4]));
        streams.start();
        DONE.await();
        System.out.printf("%.3f%n", (System.nanoTime() - started) / 1e9);
        Runtime.getRuntime().halt(0);
    }

    private static Properties settings(String codec, String brokers, String group) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        boolean exactlyOnce = "exactly-once".equals(System.getenv("DELIVERY"));
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, exactlyOnce ? 100 : 1000);
        settings.put(
            StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
            exactlyOnce ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, System.getProperty("java.io.tmpdir") + "/" + group);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 1_000_000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), codec);
        settings.put(
            StreamsConfig.producerPrefix(ProducerConfig.INTERCEPTOR_CLASSES_CONFIG), Counter.class.getName());
        return settings;
    }

    private static byte[] transform(byte[] value) {
        if (started == 0) {
            started = System.nanoTime();
        }
        try {
            Event event = JSON.readValue(value, Event.class);
            String hash = HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(value));
            return JSON.writeValueAsBytes(new Event(event.firstName, event.lastName, hash));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    /** Counts acknowledgements. */
    public static final class Counter implements ProducerInterceptor<byte[], byte[]> {
        @Override
        public ProducerRecord<byte[], byte[]> onSend(ProducerRecord<byte[], byte[]> record) {
            return record;
        }

        @Override
        public void onAcknowledgement(RecordMetadata metadata, Exception error) {
            if (error != null) {
                error.printStackTrace();
                Runtime.getRuntime().halt(1);
            }
            if (ACKNOWLEDGED.incrementAndGet() == count) {
                DONE.countDown();
            }
        }

        @Override
        public void close() {}

        @Override
        public void configure(java.util.Map<String, ?> settings) {}
    }
}
