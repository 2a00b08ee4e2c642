package compat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * A client in a JVM of its own, for what cannot be had twice in one: a sudden death, or another header codec.
 *
 * <p>Modes of {@link #main}: {@code consume} prints the body of each message until it is killed; {@code roundtrip} sends
 * as many messages as asked, synchronously and one-way in turn, consumes them, and exits.
 */
final class ChildClient {
    private final Process process;
    private final List<String> lines = Collections.synchronizedList(new ArrayList<>());

    private ChildClient(List<String> options, List<String> arguments) {
        List<String> all = new ArrayList<>(options);
        all.add("-Dcompat.log.file=" + Paths.get("target", "child-client.log").toAbsolutePath());
        ProcessBuilder builder = new ProcessBuilder(Jvm.command(ChildClient.class.getName(), "256m", all, arguments));
        builder.redirectErrorStream(true);
        try {
            process = builder.start();
        } catch (IOException e) {
            throw new AssertionError("start a child client", e);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
        Thread reader = new Thread(this::collectLines, "child-output");
        reader.setDaemon(true);
        reader.start();
    }

    static ChildClient consumer(String namesrvAddr, String group, String topic) {
        return new ChildClient(List.of(), List.of("consume", namesrvAddr, group, topic, "0"));
    }

    static ChildClient roundtrip(String namesrvAddr, String group, String topic, int count, String... options) {
        return new ChildClient(List.of(options), List.of("roundtrip", namesrvAddr, group, topic, "" + count));
    }

    void kill() {
        process.destroyForcibly();
    }

    /** The output of a child that ends by itself; fails if it ends badly. */
    List<String> awaitOutput() throws InterruptedException {
        if (!process.waitFor(120, TimeUnit.SECONDS)) {
            throw new AssertionError("child client still runs; it printed " + lines);
        }
        if (process.exitValue() != 0) {
            throw new AssertionError("child client ended with " + process.exitValue() + " and printed " + lines);
        }
        Await.until(() -> "the last line of " + lines, Await.LIMIT, () -> lines.contains("done"));
        return new ArrayList<>(lines);
    }

    private void collectLines() {
        try (BufferedReader output = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            output.lines().forEach(lines::add);
        } catch (IOException e) {
            lines.add(e.toString());
        }
    }

    public static void main(String[] args) throws Exception {
        String namesrvAddr = args[1];
        String topic = args[3];
        int count = Integer.parseInt(args[4]);
        List<String> bodies = Collections.synchronizedList(new ArrayList<>());
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[2]);
        consumer.setNamesrvAddr(namesrvAddr);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setHeartbeatBrokerInterval(2_000);
        consumer.setPullTimeDelayMillsWhenException(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> {
                bodies.add(CompatTest.body(message));
                System.out.println(CompatTest.body(message));
            });
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        if (args[0].equals("consume")) {
            Thread.currentThread().join();
        }
        DefaultMQProducer producer = new DefaultMQProducer("PG-" + topic);
        producer.setNamesrvAddr(namesrvAddr);
        producer.setSendMsgTimeout(15_000);
        producer.start();
        for (int i = 0; i < count; i++) {
            Message message = CompatTest.message(topic, "Tag", "child-" + i, "child-" + i);
            if (i % 2 == 0 && producer.send(message).getSendStatus() != SendStatus.SEND_OK) {
                throw new IllegalStateException("message " + i + " was not stored");
            } else if (i % 2 == 1) {
                producer.sendOneway(message);
            }
        }
        Await.until(() -> count + " messages, got " + bodies, Await.LIMIT, () -> bodies.size() >= count);
        producer.shutdown();
        consumer.shutdown();
        System.out.println("done");
        System.exit(0);
    }
}
