package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.store.OffsetStore;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** Ordered consumption, which rests on queue locks at the broker, with automatic and with manual commit. */
class OrderlyTest extends CompatTest {
    @Test
    @Tag("mixed")
    void eachQueueIsConsumedInOrderByAutoCommit() throws Exception {
        String topic = newTopic("OrderlyAuto", 4);
        sendToQueues(topic, 4, 25);
        Map<Integer, List<String>> consumed = new ConcurrentHashMap<>();
        String group = unique("CG");

        DefaultMQPushConsumer consumer = startOrderly(group, topic, (messages, context) -> {
            for (MessageExt message : messages) {
                consumed.computeIfAbsent(message.getQueueId(), q -> new CopyOnWriteArrayList<>()).add(body(message));
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });

        Await.until("100 messages", () -> consumed.values().stream().mapToInt(List::size).sum() >= 100);
        consumed.forEach((queue, bodies) -> assertEquals(bodiesOf(25), bodies, "queue " + queue));
        assertCommitted(consumer, group, topic, 4, 25);
    }

    @Test
    void aSuspendedQueueWaitsForTheMessageItStoppedAt() throws Exception {
        String topic = newTopic("OrderlySuspend", 2);
        sendToQueues(topic, 2, 10);
        Map<Integer, List<String>> consumed = new ConcurrentHashMap<>();
        Set<String> failedOnce = ConcurrentHashMap.newKeySet();
        String group = unique("CG");

        DefaultMQPushConsumer consumer = startOrderly(group, topic, (messages, context) -> {
            MessageExt message = messages.get(0);
            consumed.computeIfAbsent(message.getQueueId(), q -> new CopyOnWriteArrayList<>()).add(body(message));
            if (body(message).equals("m-3") && failedOnce.add(message.getMsgId())) {
                context.setSuspendCurrentQueueTimeMillis(100);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });

        Await.until("22 deliveries", () -> consumed.values().stream().mapToInt(List::size).sum() >= 22);
        List<String> expected = new ArrayList<>(bodiesOf(10));
        expected.add(3, "m-3");
        consumed.forEach((queue, bodies) -> assertEquals(expected, bodies, "queue " + queue));
        assertCommitted(consumer, group, topic, 2, 10);
    }

    @Test
    @SuppressWarnings("deprecation")
    void withManualCommitARollbackDeliversAgainAllSinceTheLastCommit() throws Exception {
        String topic = newTopic("OrderlyManual", 1);
        sendToQueues(topic, 1, 10);
        List<String> consumed = new CopyOnWriteArrayList<>();
        String group = unique("CG");

        DefaultMQPushConsumer consumer = startOrderly(group, topic, (messages, context) -> {
            context.setAutoCommit(false);
            String body = body(messages.get(0));
            consumed.add(body);
            boolean first = consumed.stream().filter(body::equals).count() == 1;
            if (body.equals("m-4") && first) {
                context.setSuspendCurrentQueueTimeMillis(100);
                return ConsumeOrderlyStatus.ROLLBACK;
            }
            if (body.equals("m-6") && first) {
                context.setSuspendCurrentQueueTimeMillis(100);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            return body.equals("m-2") || body.equals("m-9") ? ConsumeOrderlyStatus.COMMIT : ConsumeOrderlyStatus.SUCCESS;
        });

        // m-2 commits; m-4 rolls back m-3 and m-4; m-6 repeats alone; m-9 commits the rest.
        List<String> expected = List.of("m-0", "m-1", "m-2", "m-3", "m-4", "m-3", "m-4", "m-5", "m-6", "m-6", "m-7", "m-8", "m-9");
        Await.until(() -> "13 deliveries, got " + consumed, Await.LIMIT, () -> consumed.size() >= expected.size());
        assertEquals(expected, consumed);
        assertCommitted(consumer, group, topic, 1, 10);
    }

    @Test
    void withoutCommitTheNextConsumerGetsEverythingAgain() throws Exception {
        String topic = newTopic("OrderlyUncommitted", 1);
        sendToQueues(topic, 1, 5);
        String group = unique("CG");
        List<String> first = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = startOrderly(group, topic, (messages, context) -> {
            context.setAutoCommit(false);
            first.add(body(messages.get(0)));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        Await.until("5 deliveries", () -> first.size() >= 5);
        consumer.shutdown();

        List<String> second = new CopyOnWriteArrayList<>();
        startOrderly(group, topic, (messages, context) -> {
            second.add(body(messages.get(0)));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        Await.until("5 deliveries to the next consumer", () -> second.size() >= 5);
        assertEquals(bodiesOf(5), second);
    }

    private DefaultMQPushConsumer startOrderly(String group, String topic, Listener listener) throws Exception {
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.registerMessageListener((MessageListenerOrderly) listener::consume);
        consumer.start();
        return consumer;
    }

    private interface Listener {
        ConsumeOrderlyStatus consume(List<MessageExt> messages, ConsumeOrderlyContext context);
    }

    private void sendToQueues(String topic, int queues, int perQueue) throws Exception {
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < perQueue; i++) {
            for (int queue = 0; queue < queues; queue++) {
                assertSent(producer.send(message(topic, "m-" + i), TO_QUEUE, queue));
            }
        }
    }

    private static List<String> bodiesOf(int count) {
        return IntStream.range(0, count).mapToObj(i -> "m-" + i).collect(Collectors.toList());
    }

    /** What a consumer has committed comes to the broker when it shuts down, one way: a little later. */
    @SuppressWarnings("deprecation")
    private void assertCommitted(DefaultMQPushConsumer consumer, String group, String topic, int queues, long offset)
        throws Exception {
        OffsetStore committed = consumer.getDefaultMQPushConsumerImpl().getOffsetStore();
        for (int id = 0; id < queues; id++) {
            MessageQueue queue = queue(topic, id);
            Await.until("a commit of " + queue,
                () -> committed.readOffset(queue, ReadOffsetType.READ_FROM_MEMORY) == offset);
        }
        consumer.shutdown();
        for (int id = 0; id < queues; id++) {
            MessageQueue queue = queue(topic, id);
            Await.until(offset + " in " + queue, () -> {
                ConsumeStats stats = pair().admin.examineConsumeStats(group, topic);
                return stats.getOffsetTable().get(queue).getConsumerOffset() == offset;
            });
        }
    }
}
