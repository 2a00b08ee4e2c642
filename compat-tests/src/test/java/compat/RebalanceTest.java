package compat;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** Queues are shared out anew when a consumer of the group comes, leaves or dies. */
class RebalanceTest extends CompatTest {
    private static final int QUEUES = 6;

    @Test
    void queuesAreSharedWithAConsumerThatJoinsAndTakenOverFromOneThatLeaves() throws Exception {
        String topic = newTopic("Rebalance", QUEUES);
        String group = unique("CG");
        Received received = new Received();
        DefaultMQPushConsumer stays = start(group, topic, received);
        awaitOwned(stays, topic, QUEUES);

        DefaultMQPushConsumer leaves = start(group, topic, received);
        awaitOwned(stays, topic, QUEUES / 2);
        awaitOwned(leaves, topic, QUEUES / 2);
        Set<MessageQueue> all = new HashSet<>(owned(stays, topic));
        all.addAll(owned(leaves, topic));
        assertEquals(QUEUES, all.size(), "together they own each queue once");

        leaves.shutdown();
        awaitOwned(stays, topic, QUEUES);
        received.awaitExactly(sendToEachQueue(topic, "after"));
    }

    @Test
    void theQueuesOfAKilledConsumerAreTakenOver() throws Exception {
        String topic = newTopic("RebalanceKill", QUEUES);
        String group = unique("CG");
        Received received = new Received();
        DefaultMQPushConsumer survivor = start(group, topic, received);
        awaitOwned(survivor, topic, QUEUES);

        ChildClient child = ChildClient.consumer(pair().namesrvAddr(), group, topic);
        closeLater(child::kill);
        awaitOwned(survivor, topic, QUEUES / 2);
        child.kill();

        awaitOwned(survivor, topic, QUEUES);
        received.awaitAll(sendToEachQueue(topic, "after"));
    }

    private DefaultMQPushConsumer start(String group, String topic, Received received) throws Exception {
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        return consumer;
    }

    private List<String> sendToEachQueue(String topic, String prefix) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int queue = 0; queue < QUEUES; queue++) {
            bodies.add(prefix + "-" + queue);
            assertSent(startProducer().send(message(topic, bodies.get(queue)), TO_QUEUE, queue));
        }
        return bodies;
    }

    private static void awaitOwned(DefaultMQPushConsumer consumer, String topic, int count) {
        Await.until(() -> count + " queues, owns " + owned(consumer, topic), Await.LIMIT, () -> owned(consumer, topic).size() == count);
    }

    private static Collection<MessageQueue> owned(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).collect(Collectors.toList());
    }
}
