package compat;

import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Consuming later: growing delays, then the dead letter queue. */
@Execution(ExecutionMode.CONCURRENT)
class RetryTest extends CompatTest {
    @Test
    void retriesComeLaterEachTimeAndEndInTheDeadLetterQueue() throws Exception {
        String topic = newTopic("Retry", 1);
        String group = unique("RetryCG");
        Received received = new Received();
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.setMaxReconsumeTimes(2);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(received::add);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        SendResult sent = assertSent(startProducer().send(message(topic, "TagX", "retry-key", "try me")));

        List<MessageExt> messages = received.awaitCount(3);

        for (int i = 0; i < 3; i++) {
            assertEquals("try me", body(messages.get(i)));
            assertEquals(i, messages.get(i).getReconsumeTimes());
            assertEquals(topic, messages.get(i).getTopic());
            assertEquals(sent.getMsgId(), messages.get(i).getMsgId());
        }
        // A retry is delivered at level 3 + times consumed: 10 s, then 30 s.
        assertDelayed(10_000, received, 1);
        assertDelayed(30_000, received, 2);

        String deadLetters = MixAll.getDLQTopic(group);
        Await.until("the dead letter queue", () -> pair().admin.maxOffset(queue(deadLetters, 0)) == 1);
        MessageExt dead = startPuller().pull(queue(deadLetters, 0), "*", 0, 1).getMsgFoundList().get(0);
        assertEquals("try me", body(dead));
        assertEquals("TagX", dead.getTags());
        assertEquals("retry-key", dead.getKeys());
        assertEquals(topic, dead.getProperty(MessageConst.PROPERTY_RETRY_TOPIC));
        assertEquals(sent.getOffsetMsgId(), dead.getProperty(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID));
        assertEquals(3, received.size(), "deliveries");
    }

    @Test
    void theConsumerMayChooseTheDelay() throws Exception {
        String topic = newTopic("RetryLevel", 1);
        String group = unique("RetryCG");
        // Made by the consumer's first heartbeat otherwise, too late for its first rebalance (the next is 20 s away).
        createTopic(MixAll.getRetryTopic(group), 1, 6);
        Received received = new Received();
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        AtomicInteger attempts = new AtomicInteger();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(received::add);
            context.setDelayLevelWhenNextConsume(attempts.incrementAndGet());
            return attempts.get() < 3 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        assertSent(startProducer().send(message(topic, "soon")));

        received.awaitCount(3);

        assertDelayed(1_000, received, 1);
        assertDelayed(5_000, received, 2);
    }

    /** The delay starts when the broker stores the retry, after the listener was called. */
    private static void assertDelayed(long atLeast, Received received, int attempt) {
        long waited = received.deliveries().get(attempt).at() - received.deliveries().get(attempt - 1).at();
        String what = "attempt " + attempt + " came after " + waited + " ms: " + received.deliveries();
        assertTrue(waited >= atLeast, what);
        assertTrue(waited < atLeast + 60_000, what);
    }
}
