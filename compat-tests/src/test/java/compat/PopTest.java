package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.api.parallel.ResourceAccessMode;
import org.junit.jupiter.api.parallel.ResourceLock;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** The stock push consumer in POP mode, which an operator sets, and the requests below it. */
@Execution(ExecutionMode.CONCURRENT)
@ResourceLock(value = MqAdmin.LOCK, mode = ResourceAccessMode.READ)
class PopTest extends CompatTest {
    /** How long after its time a message may come back: the reference is three to five seconds late. */
    private static final long LATE_MILLIS = 20_000;

    @Test
    @Tag("mixed")
    void aPoppingConsumerGetsEachMessageOnceAndNothingAgainLater() throws Exception {
        String topic = newTopic("Pop", 4);
        String group = popGroup(topic, 0);
        List<String> before = sendMany(startProducer(), topic, "before", 30);
        Received received = new Received();
        startPopping(group, topic, "*", received::accept).setPopInvisibleTime(5_000);

        received.awaitAll(before);
        List<String> after = sendMany(startProducer(), topic, "after", 30);
        List<String> all = new ArrayList<>(before);
        all.addAll(after);
        received.awaitAll(all);
        assertEquals(0, pair().admin.examineConsumeStats(group).computeTotalDiff(), "popped is consumed");
        // Well behind the time at which one that was not acknowledged would come back.
        Await.pause(12_000);
        received.awaitExactly(all);
    }

    @Test
    void onlySubscribedTagsArePopped() throws Exception {
        String topic = newTopic("PopTags", 2);
        String group = popGroup(topic, 0);
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < 20; i++) {
            assertSent(producer.send(message(topic, i % 2 == 0 ? "A" : "B", "k", "m-" + i)));
        }
        Received received = new Received();
        startPopping(group, topic, "A", received::accept);
        received.awaitExactly(List.of("m-0", "m-2", "m-4", "m-6", "m-8", "m-10", "m-12", "m-14", "m-16", "m-18"));
    }

    @Test
    void aMessageToBeConsumedLaterComesBackAndIsCounted() throws Exception {
        String topic = newTopic("PopLater", 1);
        String group = popGroup(topic, 0);
        assertSent(startProducer().send(message(topic, "T", "k", "later")));
        Received received = new Received();
        startPopping(group, topic, "*", (messages, context) -> {
            messages.forEach(received::add);
            return received.size() < 2 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });

        received.awaitCount(2);
        Received.Delivery first = received.deliveries().get(0);
        Received.Delivery second = received.deliveries().get(1);
        assertEquals(List.of("later", "later"), received.bodies());
        assertEquals(0, first.message().getReconsumeTimes());
        assertEquals(1, second.message().getReconsumeTimes());
        assertEquals(topic, second.message().getTopic());
        assertEquals("T", second.message().getTags());
        long waited = second.at() - first.at();
        assertTrue(waited >= 9_000 && waited < 10_000 + LATE_MILLIS, "came back after " + waited + " ms");
    }

    @Test
    @Tag("mixed")
    void whatIsNotAcknowledgedComesBackWhenItsTimeIsUp() throws Exception {
        String topic = newTopic("PopAgain", 2);
        String group = unique("PopCG");
        List<String> bodies = sendMany(startProducer(), topic, "m", 6);
        PopClient client = popClient(group, topic);
        List<MessageExt> popped = popAll(client, 5_000, 6);
        long start = System.currentTimeMillis();
        Set<String> acked = new TreeSet<>();
        for (MessageExt message : popped.subList(0, 3)) {
            assertTrue(client.ack(message));
            acked.add(body(message));
        }
        assertEquals(List.of(), client.pop(5_000));

        List<MessageExt> again = popAll(client, 60_000, 3);
        long waited = System.currentTimeMillis() - start;
        assertTrue(waited > 4_000 && waited < 5_000 + LATE_MILLIS, "came back after " + waited + " ms");
        Set<String> expected = new TreeSet<>(bodies);
        expected.removeAll(acked);
        assertEquals(expected, bodiesOf(again));
        for (MessageExt message : again) {
            assertEquals(1, message.getReconsumeTimes());
            assertTrue(client.ack(message));
        }
        Await.pause(3_000);
        assertEquals(List.of(), client.pop(5_000));
    }

    @Test
    void theInvisibleTimeCanBeChanged() throws Exception {
        String topic = newTopic("PopChange", 1);
        String group = unique("PopCG");
        sendMany(startProducer(), topic, "m", 1);
        PopClient client = popClient(group, topic);
        MessageExt message = popAll(client, 120_000, 1).get(0);
        long start = System.currentTimeMillis();
        String handle = client.changeInvisible(message, 3_000);
        assertTrue(handle.contains(" 3000 "), handle);
        MessageExt again = popAll(client, 60_000, 1).get(0);
        long waited = System.currentTimeMillis() - start;
        assertTrue(waited > 2_000 && waited < 3_000 + LATE_MILLIS, "came back after " + waited + " ms");
        assertEquals("m-0", body(again));
        assertTrue(client.ack(again));
    }

    @Test
    @Tag("mixed")
    void inOrderTheNextMessagesComeWhenTheLastAreAcknowledged() throws Exception {
        String topic = newTopic("PopOrder", 1);
        String group = unique("PopCG");
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setConsumeMessageOrderly(true);
        pair().admin.createAndUpdateSubscriptionGroupConfig(pair().brokerAddr(), config);
        sendMany(startProducer(), topic, "m", 5);
        PopClient client = popClient(group, topic);
        List<MessageExt> first = new ArrayList<>();
        Await.until("the first two", () -> first.addAll(client.popInOrder(30_000, 2)) || first.size() == 2);
        assertEquals(List.of("m-0", "m-1"), first.stream().map(CompatTest::body).collect(Collectors.toList()));
        assertTrue(PopClient.handle(first.get(0)).contains(" 999 "), PopClient.handle(first.get(0)));

        assertEquals(List.of(), client.popInOrder(30_000, 2), "blocked");
        assertTrue(client.ack(first.get(0)));
        assertEquals(List.of(), client.popInOrder(30_000, 2), "still blocked");
        client.changeInvisible(first.get(1), 500);
        Await.pause(1_000);
        List<MessageExt> second = client.popInOrder(30_000, 2);
        assertEquals(List.of("m-1", "m-2"), second.stream().map(CompatTest::body).collect(Collectors.toList()));
        assertEquals(1, second.get(0).getReconsumeTimes());
        assertEquals(0, second.get(1).getReconsumeTimes());
        for (MessageExt message : second) {
            assertTrue(client.ack(message));
        }
        List<MessageExt> last = client.popInOrder(30_000, 5);
        assertEquals(List.of("m-3", "m-4"), last.stream().map(CompatTest::body).collect(Collectors.toList()));
    }

    @Test
    @Tag("mixed")
    void consumersThatPopShareTheQueues() throws Exception {
        String topic = newTopic("PopShare", 4);
        String group = popGroup(topic, 1);
        Map<Integer, Set<String>> byConsumer = new ConcurrentHashMap<>();
        AtomicInteger total = new AtomicInteger();
        for (int consumer = 0; consumer < 3; consumer++) {
            int id = consumer;
            byConsumer.put(id, ConcurrentHashMap.newKeySet());
            startPopping(group, topic, "*", (messages, context) -> {
                messages.forEach(message -> {
                    byConsumer.get(id).add(body(message));
                    total.incrementAndGet();
                });
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        DefaultMQProducer producer = startProducer();
        List<String> sent = new ArrayList<>();
        Await.until(() -> "each of three consumers to get something, got " + byConsumer, Await.LIMIT, () -> {
            sent.addAll(sendMany(producer, topic, "round" + sent.size(), 8));
            Await.pause(300);
            return byConsumer.values().stream().noneMatch(Set::isEmpty);
        });
        Await.until("all messages", () -> total.get() >= sent.size());
        assertEquals(new TreeSet<>(sent), byConsumer.values().stream().flatMap(Set::stream).collect(Collectors.toCollection(TreeSet::new)));
        assertEquals(sent.size(), total.get(), "none twice");
    }

    @Test
    void mqadminSetsAndThePoppingConsumerFollows() throws Exception {
        String topic = newTopic("PopMode", 2);
        String group = unique("PopCG");
        sendMany(startProducer(), topic, "m", 10);
        Received received = new Received();
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.setClientRebalance(false);
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        received.awaitCount(10);
        new MqAdmin(pair()).run("setConsumeMode", "-b", pair().brokerAddr(), "-t", topic, "-g", group, "-m", "POP", "-q", "2");
        Await.until("the consumer to pop", () -> pair().admin.getConsumerRunningInfo(group,
            consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId(), false).getMqPopTable().size() > 0);
        List<String> more = sendMany(startProducer(), topic, "more", 10);
        received.awaitAll(more);
    }

    private String popGroup(String topic, int shareQueueNum) throws Exception {
        String group = unique("PopCG");
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        pair().admin.createAndUpdateSubscriptionGroupConfig(pair().brokerAddr(), config);
        pair().admin.setMessageRequestMode(pair().brokerAddr(), topic, group, MessageRequestMode.POP, shareQueueNum, 5_000);
        return group;
    }

    private DefaultMQPushConsumer startPopping(String group, String topic, String tags, MessageListenerConcurrently listener) throws Exception {
        DefaultMQPushConsumer consumer = newConsumer(group, topic, tags);
        consumer.setInstanceName(unique("popper"));
        consumer.setClientRebalance(false);
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    private PopClient popClient(String group, String topic) throws Exception {
        return new PopClient(pair(), startPuller(), group, topic);
    }

    /** Pops until it has so many. */
    static List<MessageExt> popAll(PopClient client, long invisibleMillis, int count) {
        List<MessageExt> all = new ArrayList<>();
        Await.until(() -> count + " messages, got " + bodiesOf(all), Await.LIMIT, () -> {
            all.addAll(client.pop(invisibleMillis));
            return all.size() >= count;
        });
        return all;
    }

    static Set<String> bodiesOf(List<MessageExt> messages) {
        return messages.stream().map(CompatTest::body).collect(Collectors.toCollection(TreeSet::new));
    }
}
