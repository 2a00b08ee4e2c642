package compat;

import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** A broker that goes, cleanly or killed, and comes back on the same store and address. */
@StrictPair
class RestartTest extends CompatTest {
    @Override
    Pair pair() {
        return Pair.strict();
    }

    @Test
    @Tag("mixed")
    void producersAndConsumersSurviveACleanRestartAndNothingIsLost() throws Exception {
        String topic = newTopic("Restart", 2);
        String quietGroup = unique("QuietCG");
        DefaultMQProducer producer = startProducer();
        List<String> before = sendMany(producer, topic, "before", 20);
        assertSent(producer.send(message(topic, "T", "restart-key", "keyed")));
        DefaultMQPushConsumer quiet = newConsumer(quietGroup, topic, "*");
        Received quietReceived = new Received();
        quiet.registerMessageListener((MessageListenerConcurrently) quietReceived::accept);
        quiet.start();
        quietReceived.awaitCount(21);
        quiet.shutdown();
        Received steady = consume(unique("SteadyCG"), topic, "*");
        steady.awaitCount(21);
        Load load = new Load(topic, 1);
        Await.until("load before the restart", () -> load.acknowledged.size() >= 20);

        pair().broker.stop();
        int atStop = load.acknowledged.size();
        pair().broker.start();

        Await.until("the same producer to be served again", () -> load.acknowledged.size() >= atStop + 20);
        Set<String> acknowledged = load.stop();
        steady.awaitAll(acknowledged);
        Received again = consume(quietGroup, topic, "*");
        again.awaitAll(acknowledged);
        assertTrue(again.bodies().stream().noneMatch(b -> before.contains(b) || b.equals("keyed")),
            "committed before the restart, delivered after it: " + again.bodies());
        Received fresh = consume(unique("FreshCG"), topic, "*");
        fresh.awaitAll(before);
        fresh.awaitAll(acknowledged);
        assertEquals(1, pair().admin.queryMessage(topic, "restart-key", 32, 0, Long.MAX_VALUE).getMessageList().size());
    }

    @Test
    void everyAcknowledgedMessageSurvivesKillNineUnderLoad() throws Exception {
        String topic = newTopic("Kill", 4);
        Load load = new Load(topic, 4);
        Await.until("load", () -> load.acknowledged.size() >= 400);

        pair().broker.kill();
        Set<String> acknowledged = load.stop();
        pair().broker.start();
        pair().awaitRegistered();

        Received received = consume(unique("CG"), topic, "*");
        received.awaitAll(acknowledged);
        List<String> after = sendMany(startProducer(), topic, "after", 10);
        received.awaitAll(after);
    }

    /** Threads that send without pause and without retry until told to stop, remembering what was acknowledged. */
    private final class Load {
        final Set<String> acknowledged = ConcurrentHashMap.newKeySet();
        private final AtomicBoolean stopped = new AtomicBoolean();
        private final AtomicInteger sequence = new AtomicInteger();
        private final List<Thread> threads = new CopyOnWriteArrayList<>();

        Load(String topic, int count) throws Exception {
            DefaultMQProducer producer = newProducer();
            producer.setRetryTimesWhenSendFailed(0);
            producer.setSendMsgTimeout(3_000);
            producer.start();
            for (int i = 0; i < count; i++) {
                Thread thread = new Thread(() -> run(producer, topic), "load-" + i);
                threads.add(thread);
                thread.start();
            }
        }

        Set<String> stop() throws InterruptedException {
            stopped.set(true);
            for (Thread thread : threads) {
                thread.join();
            }
            return acknowledged;
        }

        private void run(DefaultMQProducer producer, String topic) {
            while (!stopped.get()) {
                String body = "load-" + sequence.incrementAndGet();
                try {
                    Message message = message(topic, body);
                    if (producer.send(message).getSendStatus() == SendStatus.SEND_OK) {
                        acknowledged.add(body);
                    }
                } catch (Exception e) {
                    // Expected while the broker is away.
                    Await.pause(50);
                }
            }
        }
    }
}
