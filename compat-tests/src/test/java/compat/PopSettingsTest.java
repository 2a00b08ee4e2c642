package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.KeyBuilder;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Pops under settings that are off by default. */
class PopSettingsTest extends CompatTest {
    private static final int THRESHOLD = 40;
    private static final long INVISIBLE_MILLIS = 300_000;

    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("pop-settings", Map.of(
        "enablePopMessageThreshold", "true",
        "popInflightMessageThreshold", String.valueOf(THRESHOLD),
        "useSeparateRetryQueue", "true"));

    @Override
    Pair pair() {
        return SERVERS.pair();
    }

    /** {@code enablePopMessageThreshold}. */
    @Test
    void aQueueWithTooManyMessagesInFlightGivesNoMoreUntilSomeAreAcknowledged() throws Exception {
        String topic = newTopic("Threshold", 1);
        sendMany(startProducer(), topic, "m", 100);
        PopClient client = new PopClient(pair(), startPuller(), unique("ThresholdCG"), topic);

        List<MessageExt> inFlight = new ArrayList<>();
        Await.until(() -> inFlight.size() + " popped", Await.LIMIT, () -> {
            inFlight.addAll(client.pop(INVISIBLE_MILLIS));
            return inFlight.size() > THRESHOLD;
        });
        assertEquals(64, inFlight.size(), "a pop that begins below the threshold may pass it");
        assertEquals(List.of(), client.pop(INVISIBLE_MILLIS));
        // With one less the threshold is reached, and not passed.
        for (MessageExt message : inFlight.subList(0, 64 - THRESHOLD - 1)) {
            assertTrue(client.ack(message));
        }
        assertEquals(List.of(), client.pop(INVISIBLE_MILLIS));
        assertTrue(client.ack(inFlight.get(63)));
        assertEquals(32, client.pop(INVISIBLE_MILLIS).size());
    }

    /** {@code useSeparateRetryQueue}. */
    @Test
    void aMessageComesBackThroughTheRetryQueueOfItsNumber() throws Exception {
        String topic = newTopic("SeparateRetry", 3);
        String group = unique("SeparateRetryCG");
        DefaultMQProducer producer = startProducer();
        for (int queueId : new int[] {0, 2}) {
            assertSent(producer.send(message(topic, "of queue " + queueId), queue(topic, queueId)));
        }
        PopClient client = new PopClient(pair(), startPuller(), group, topic);
        PopTest.popAll(client, 2_000, 2);

        for (MessageExt again : PopTest.popAll(client, INVISIBLE_MILLIS, 2)) {
            assertEquals("of queue " + again.getQueueId(), body(again));
            assertEquals(1, again.getReconsumeTimes());
            assertTrue(client.ack(again));
        }
        String retryTopic = KeyBuilder.buildPopRetryTopicV1(topic, group);
        TopicConfig config = pair().admin.examineTopicConfig(pair().brokerAddr(), retryTopic);
        assertEquals("3 3", config.getReadQueueNums() + " " + config.getWriteQueueNums());
    }
}
