package compat;

import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * A stock producer whose answers are lost sends again. With {@code duplicateSendWindowMs}, which only our broker has, the
 * message is stored once; without it, and by Java, twice.
 */
class DuplicateSendTest extends CompatTest {
    private static final int MESSAGES = 5;

    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("duplicates", Map.of("duplicateSendWindowMs", "60000"));
    private Pair current = Pair.shared();

    @Override
    Pair pair() {
        return current;
    }

    @Test
    void aRepeatedSendIsStoredTwiceWithoutTheWindow() throws Exception {
        assertStoredTwice(storedWhenFirstAnswersAreLost());
    }

    @Test
    void aRepeatedSendIsStoredOnceWithinTheWindow() throws Exception {
        current = SERVERS.pair();
        long stored = storedWhenFirstAnswersAreLost();
        if (Kind.broker() == Kind.RUST) {
            assertEquals(MESSAGES, stored);
        } else {
            assertStoredTwice(stored);
        }
    }

    /** A send whose answer is only late, on a busy machine, is repeated once more. */
    private static void assertStoredTwice(long stored) {
        assertTrue(stored >= 2 * MESSAGES, () -> "stored " + stored);
    }

    /** How many messages are stored when the answer to each first send is lost. */
    private long storedWhenFirstAnswersAreLost() throws Exception {
        String topic = newTopic("Twice", 2);
        try (LossyProxy proxy = new LossyProxy(pair().namesrvAddr(), pair().brokerAddr())) {
            DefaultMQProducer producer = newProducer();
            producer.setNamesrvAddr(proxy.namesrvAddr());
            producer.setSendMsgTimeout(20_000);
            producer.setSendMsgMaxTimeoutPerRequest(1_000);
            producer.setRetryTimesWhenSendFailed(5);
            producer.start();
            assertSent(producer.send(message(topic, "the first connects")));
            for (int i = 0; i < MESSAGES; i++) {
                Message message = message(topic, "T", "key-" + i, "body-" + i);
                proxy.swallowNextAnswers(1);
                assertSent(producer.send(message));
            }
            assertEquals(MESSAGES, proxy.swallowed.get());
        }
        long[] stored = {0};
        Await.until(() -> "no more messages, " + stored[0], Await.LIMIT, () -> {
            long before = stored[0];
            stored[0] = pair().admin.maxOffset(queue(topic, 0)) + pair().admin.maxOffset(queue(topic, 1));
            return stored[0] > MESSAGES && stored[0] == before;
        });
        return stored[0] - 1;
    }
}
