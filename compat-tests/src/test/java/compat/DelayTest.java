package compat;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Delay levels of the default messageDelayLevel. */
class DelayTest extends CompatTest {
    private static final List<Long> LEVEL_MILLIS = List.of(1_000L, 5_000L, 10_000L);

    @Test
    @Tag("mixed")
    void levelsOneToThreeArriveInTimeAndOrder() throws Exception {
        String topic = newTopic("Delay", 2);
        Received received = consume(unique("CG"), topic, "*");
        DefaultMQProducer producer = startProducer();
        Map<String, Long> sentAt = new ConcurrentHashMap<>();
        for (int level : new int[] {3, 1, 2}) {
            Message message = message(topic, "TagD", "delay-key", "level-" + level);
            message.setDelayTimeLevel(level);
            sentAt.put("level-" + level, System.currentTimeMillis());
            assertSent(producer.send(message));
        }

        received.awaitCount(3);

        assertEquals(List.of("level-1", "level-2", "level-3"), received.bodies());
        for (int level = 1; level <= 3; level++) {
            Received.Delivery delivery = received.deliveries().get(level - 1);
            long waited = delivery.at() - sentAt.get(delivery.body());
            assertTrue(waited >= LEVEL_MILLIS.get(level - 1), "level " + level + " after " + waited + " ms");
            assertTrue(waited < LEVEL_MILLIS.get(level - 1) + 60_000, "level " + level + " after " + waited + " ms");
            assertEquals("TagD", delivery.message().getTags());
            assertEquals("delay-key", delivery.message().getKeys());
        }
        assertEquals(List.of(topic), received.messages().stream().map(Message::getTopic).distinct().collect(Collectors.toList()));
    }
}
