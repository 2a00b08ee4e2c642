package compat;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** DefaultLitePullConsumer: subscribed, assigned, sought. */
class LitePullTest extends CompatTest {
    @Test
    void aSubscribedConsumerPollsAllAndCommits() throws Exception {
        String topic = newTopic("LiteSubscribe", 3);
        String group = unique("CG");
        DefaultMQProducer producer = startProducer();
        List<String> first = sendMany(producer, topic, "first", 30);
        DefaultLitePullConsumer consumer = newLitePull(group);
        consumer.setAutoCommit(false);
        consumer.subscribe(topic, "*");
        consumer.start();
        assertEquals(sorted(first), sorted(poll(consumer, 30)));
        consumer.commit();
        consumer.shutdown();

        List<String> second = sendMany(producer, topic, "second", 6);
        DefaultLitePullConsumer next = newLitePull(group);
        next.subscribe(topic, "*");
        next.start();
        assertEquals(sorted(second), sorted(poll(next, 6)));
    }

    @Test
    void anAssignedConsumerReadsOnlyItsQueuesAndSeeks() throws Exception {
        String topic = newTopic("LiteAssign", 3);
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < 30; i++) {
            assertSent(producer.send(message(topic, "q" + i % 3 + "-" + i / 3), TO_QUEUE, i % 3));
        }
        DefaultLitePullConsumer consumer = newLitePull(unique("CG"));
        consumer.setAutoCommit(false);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        assertEquals(3, queues.size());
        MessageQueue one = queues.stream().filter(q -> q.getQueueId() == 1).findFirst().orElseThrow();
        consumer.assign(List.of(one));

        consumer.seekToBegin(one);
        assertEquals(bodies(1, 0, 10), poll(consumer, 10));

        consumer.seek(one, 7);
        assertEquals(bodies(1, 7, 10), poll(consumer, 3));

        consumer.seekToEnd(one);
        assertSent(producer.send(message(topic, "q1-10"), TO_QUEUE, 1));
        assertEquals(bodies(1, 10, 11), poll(consumer, 1));
    }

    @Test
    void offsetsAreFoundByTimestamp() throws Exception {
        String topic = newTopic("LiteTimestamp", 1);
        DefaultMQProducer producer = startProducer();
        sendMany(producer, topic, "before", 5);
        Await.pause(20);
        long between = System.currentTimeMillis();
        Await.pause(20);
        sendMany(producer, topic, "after", 5);
        DefaultLitePullConsumer consumer = newLitePull(unique("CG"));
        consumer.start();
        MessageQueue queue = consumer.fetchMessageQueues(topic).iterator().next();
        Await.until("the offset of the timestamp", () -> consumer.offsetForTimestamp(queue, between) == 5);
        assertEquals(0, consumer.offsetForTimestamp(queue, 0L));
    }

    private static List<String> poll(DefaultLitePullConsumer consumer, int count) {
        List<String> bodies = new ArrayList<>();
        Await.until(() -> count + " polled messages, got " + bodies, Await.LIMIT, () -> {
            for (MessageExt message : consumer.poll(500)) {
                bodies.add(body(message));
            }
            return bodies.size() >= count;
        });
        return bodies;
    }

    private static List<String> bodies(int queue, int from, int to) {
        return IntStream.range(from, to).mapToObj(i -> "q" + queue + "-" + i).collect(Collectors.toList());
    }

    private static List<String> sorted(List<String> bodies) {
        return bodies.stream().sorted().collect(Collectors.toList());
    }
}
