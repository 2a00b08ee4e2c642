package compat;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.common.message.MessageExt;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** The messages a consumer was given, in the order it was given them. */
final class Received {
    /** One delivery; {@code at} is the wall clock when the listener was called. */
    record Delivery(MessageExt message, long at) {
        String body() {
            return CompatTest.body(message);
        }

        /** Which copy of which message this is, and when it was stored and came. */
        @Override
        public String toString() {
            return String.format("%s %s at %s %d of %s, log offset %d, consumed %d times, stored %d, came %d ms after",
                body(), message.getMsgId(), message.getTopic(), message.getQueueOffset(), message.getBrokerName(),
                message.getCommitLogOffset(), message.getReconsumeTimes(), message.getStoreTimestamp(), at - message.getStoreTimestamp());
        }
    }

    private final List<Delivery> deliveries = new CopyOnWriteArrayList<>();

    /** As a listener that consumes everything. */
    ConsumeConcurrentlyStatus accept(List<MessageExt> messages, ConsumeConcurrentlyContext context) {
        messages.forEach(this::add);
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    void add(MessageExt message) {
        deliveries.add(new Delivery(message, System.currentTimeMillis()));
    }

    List<Delivery> deliveries() {
        return new ArrayList<>(deliveries);
    }

    List<MessageExt> messages() {
        return deliveries.stream().map(Delivery::message).collect(Collectors.toList());
    }

    List<String> bodies() {
        return deliveries.stream().map(Delivery::body).collect(Collectors.toList());
    }

    int size() {
        return deliveries.size();
    }

    List<MessageExt> awaitCount(int count) {
        Await.until(() -> count + " messages, got " + size(), Await.LIMIT, () -> size() >= count);
        return messages();
    }

    /** Waits until each of these has arrived. */
    void awaitAll(Collection<String> bodies) {
        Await.until(() -> "the messages " + missing(bodies), Await.LIMIT, () -> missing(bodies).isEmpty());
    }

    /** Waits for these and asserts that nothing else came, and nothing twice. */
    void awaitExactly(Collection<String> bodies) {
        awaitAll(bodies);
        assertEquals(sorted(bodies), sorted(bodies()));
    }

    private TreeSet<String> missing(Collection<String> bodies) {
        TreeSet<String> missing = new TreeSet<>(bodies);
        bodies().forEach(missing::remove);
        return missing;
    }

    private static List<String> sorted(Collection<String> bodies) {
        return bodies.stream().sorted().collect(Collectors.toList());
    }
}
