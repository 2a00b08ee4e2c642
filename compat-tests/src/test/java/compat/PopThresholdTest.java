package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** With {@code enablePopMessageThreshold} a group that has popped too much of a queue gets no more of it until it acknowledges. */
class PopThresholdTest extends CompatTest {
    private static final int THRESHOLD = 40;
    private static final long INVISIBLE_MILLIS = 300_000;

    private static Pair pair;

    @BeforeAll
    static void startServers() {
        pair = Pair.start("pop-threshold", Map.of(
            "enablePopMessageThreshold", "true",
            "popInflightMessageThreshold", String.valueOf(THRESHOLD)));
    }

    @AfterAll
    static void disposeOfServers() {
        pair.dispose();
    }

    @Override
    Pair pair() {
        return pair;
    }

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
}
