package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * Pending timers change hands: one broker files them and stops, another delivers some, takes on more and is killed, and the
 * first delivers the rest.
 *
 * <p>Which two is said in {@link ExchangeTest}.
 */
class TimerExchangeTest extends ExchangeTest {
    private static final Map<String, String> CONFIG = Map.of("recallMessageEnable", "true", "mappedFileSizeTimerLog", "102400",
        "mappedFileSizeCommitLog", "16777216", "mappedFileSizeConsumeQueue", "6000", "maxHashSlotNum", "5000", "maxIndexNum", "20000");

    @ParameterizedTest
    @MethodSource("pairs")
    void pendingTimersAreDeliveredByWhoeverHasTheStore(Kind writer, Kind reader) throws Exception {
        begin(writer, "timers", CONFIG);
        String topic = newTopic("TimerExchange", 1);
        List<String> bodies = new ArrayList<>(sendAhead(topic, "first", 15_000));
        String recalled = sendRecalled(topic, 16_000);
        broker.stop();

        continueWith(reader);
        Await.until("what the first filed", () -> pair.admin.maxOffset(queue(topic, 0)) >= bodies.size());
        assertEquals(bodies, bodiesOf(topic).stream().sorted().collect(Collectors.toList()), "each once, whatever the order");
        List<String> more = sendAhead(topic, "second", 15_000);
        // Those who write their progress do so every second.
        Await.pause(3_000);
        broker.kill();

        continueWith(writer);
        bodies.addAll(more);
        Await.until("what the second filed", () -> bodiesOf(topic).containsAll(bodies));
        assertEquals(new TreeSet<>(bodies), new TreeSet<>(bodiesOf(topic)), "but not " + recalled);
        if (writer == Kind.RUST) {
            // A Java broker files messages again that another had filed in the second before it was killed.
            assertEquals(bodies.size(), bodiesOf(topic).size(), "each once");
        }
        broker.kill();
    }

    private List<String> sendAhead(String topic, String prefix, long aheadMillis) throws Exception {
        DefaultMQProducer producer = startProducer();
        long start = System.currentTimeMillis() + aheadMillis;
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 15; i++) {
            Message message = message(topic, prefix + "-" + (10 + i));
            message.setDeliverTimeMs(start + 170 * i);
            assertSent(producer.send(message));
            bodies.add(prefix + "-" + (10 + i));
        }
        return bodies;
    }

    private String sendRecalled(String topic, long aheadMillis) throws Exception {
        DefaultMQProducer producer = startProducer();
        Message message = message(topic, "recalled");
        message.setDeliverTimeMs(System.currentTimeMillis() + aheadMillis);
        SendResult sent = assertSent(producer.send(message));
        assertEquals(sent.getMsgId(), producer.recallMessage(topic, sent.getRecallHandle()));
        return "recalled";
    }

    /** In the order of the queue; none came before it was due. */
    private List<String> bodiesOf(String topic) throws Exception {
        DefaultMQPullConsumer puller = startPuller();
        List<MessageExt> messages = new StoreReader(pair, puller).pull(queue(topic, 0), 0, pair.admin.maxOffset(queue(topic, 0)));
        for (MessageExt message : messages) {
            long due = Long.parseLong(message.getProperty("TIMER_DELIVER_MS"));
            assertTrue(message.getStoreTimestamp() >= due, body(message) + " came " + (due - message.getStoreTimestamp()) + " ms early");
        }
        return messages.stream().map(CompatTest::body).collect(Collectors.toList());
    }
}
