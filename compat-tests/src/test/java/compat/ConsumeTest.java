package compat;

import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Who gets which messages: tags, groups, clustering, broadcasting, and where a new group begins. */
class ConsumeTest extends CompatTest {
    @Test
    @Tag("mixed")
    void aTagExpressionSelects() throws Exception {
        String topic = newTopic("Tags", 2);
        DefaultMQProducer producer = startProducer();
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            String tag = List.of("A", "B", "C").get(i % 3);
            assertSent(producer.send(message(topic, tag, null, tag + i)));
            if (!tag.equals("C")) {
                wanted.add(tag + i);
            }
        }
        assertSent(producer.send(message(topic, "untagged")));
        consume(unique("CG"), topic, "A || B").awaitExactly(wanted);
    }

    @Test
    void tagsOfEqualHashAreToldApart() throws Exception {
        String topic = newTopic("TagsHash", 1);
        DefaultMQProducer producer = startProducer();
        assertEquals("Aa".hashCode(), "BB".hashCode());
        assertSent(producer.send(message(topic, "BB", null, "other")));
        assertSent(producer.send(message(topic, "Aa", null, "wanted")));
        consume(unique("CG"), topic, "Aa").awaitExactly(List.of("wanted"));
    }

    @Test
    void twoGroupsEachGetAll() throws Exception {
        String topic = newTopic("TwoGroups", 2);
        Received one = consume(unique("CG"), topic, "*");
        Received two = consume(unique("CG"), topic, "*");
        List<String> bodies = sendMany(startProducer(), topic, "m", 20);
        one.awaitExactly(bodies);
        two.awaitExactly(bodies);
    }

    @Test
    void theMembersOfAGroupShare() throws Exception {
        String topic = newTopic("Cluster", 4);
        String group = unique("CG");
        Received one = consume(group, topic, "*");
        Received two = consume(group, topic, "*");
        awaitMembers(group, 2);
        DefaultMQProducer producer = startProducer();
        // Sent until both have had some: how long the group takes to agree on its queues is not this test's matter.
        List<String> bodies = new ArrayList<>();
        Await.until("both members to get messages", () -> {
            bodies.addAll(sendMany(producer, topic, "round" + bodies.size(), 8));
            return one.size() > 0 && two.size() > 0;
        });
        Await.until("all messages", () -> union(one, two).distinct().count() == bodies.size());
        bodies.clear();
        bodies.addAll(sendMany(producer, topic, "settled", 40));
        Await.until("the last 40", () -> union(one, two).filter(b -> b.startsWith("settled")).count() >= 40);
        List<String> settled = union(one, two).filter(b -> b.startsWith("settled")).sorted().collect(Collectors.toList());
        assertEquals(bodies.stream().sorted().collect(Collectors.toList()), settled, "each message once");
        assertTrue(one.bodies().stream().anyMatch(b -> b.startsWith("settled")));
        assertTrue(two.bodies().stream().anyMatch(b -> b.startsWith("settled")));
    }

    @Test
    void everyMemberOfABroadcastGroupGetsAll() throws Exception {
        String topic = newTopic("Broadcast", 4);
        String group = unique("CG");
        Received one = broadcast(group, topic, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, null);
        Received two = broadcast(group, topic, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, null);
        List<String> bodies = sendMany(startProducer(), topic, "m", 20);
        one.awaitExactly(bodies);
        two.awaitExactly(bodies);
    }

    @Test
    void aNewGroupFromTheFirstOffsetGetsThePast() throws Exception {
        String topic = newTopic("FromFirst", 2);
        List<String> bodies = sendMany(startProducer(), topic, "past", 10);
        consume(unique("CG"), topic, "*").awaitExactly(bodies);
    }

    @Test
    void aNewGroupFromTheLastOffsetGetsOnlyTheFuture() throws Exception {
        String topic = newTopic("FromLast", 2);
        DefaultMQProducer producer = startProducer();
        sendMany(producer, topic, "past", 10);
        Received received = broadcast(unique("CG"), topic, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, null);
        received.awaitExactly(sendUntilReceived(producer, topic, received));
    }

    /**
     * The broker answers offset 0 to an unknown clustering group as long as the queue still has its first message in
     * memory, so "last" does not lose what was sent before the first consumer came.
     * Reference: ConsumerManageProcessor, queryConsumerOffset.
     */
    @Test
    void aClusteringGroupFromTheLastOffsetOfAYoungTopicGetsThePastToo() throws Exception {
        String topic = newTopic("FromLastYoung", 2);
        List<String> bodies = sendMany(startProducer(), topic, "past", 10);
        DefaultMQPushConsumer consumer = newConsumer(unique("CG"), topic, "*");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        start(consumer).awaitExactly(bodies);
    }

    @Test
    void aNewGroupFromATimestampGetsWhatWasStoredSince() throws Exception {
        String topic = newTopic("FromTimestamp", 2);
        DefaultMQProducer producer = startProducer();
        sendMany(producer, topic, "before", 10);
        // The client's timestamp has whole seconds: leave one between the two halves.
        long boundary = (System.currentTimeMillis() / 1000 + 2) * 1000;
        Await.until("the next second", () -> System.currentTimeMillis() > boundary);
        List<String> after = sendMany(producer, topic, "after", 10);
        String timestamp = DateTimeFormatter.ofPattern("yyyyMMddHHmmss").withZone(ZoneId.systemDefault())
            .format(Instant.ofEpochMilli(boundary));
        broadcast(unique("CG"), topic, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP, timestamp).awaitExactly(after);
    }

    @Test
    void aGroupContinuesWhereItStopped() throws Exception {
        String topic = newTopic("Continue", 2);
        String group = unique("CG");
        DefaultMQProducer producer = startProducer();
        List<String> first = sendMany(producer, topic, "first", 10);
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        start(consumer).awaitExactly(first);
        consumer.shutdown();
        List<String> second = sendMany(producer, topic, "second", 10);
        consume(group, topic, "*").awaitExactly(second);
    }

    private Received broadcast(String group, String topic, ConsumeFromWhere from, String timestamp) throws Exception {
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        // Its offsets are local files named by group and client: a new instance has none.
        consumer.setInstanceName(unique("broadcast"));
        consumer.setMessageModel(MessageModel.BROADCASTING);
        consumer.setConsumeFromWhere(from);
        if (timestamp != null) {
            consumer.setConsumeTimestamp(timestamp);
        }
        return start(consumer);
    }

    private static Received start(DefaultMQPushConsumer consumer) throws Exception {
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        return received;
    }

    /** Queues are looked up at the start of each pull: messages sent too early are legitimately missed. */
    private List<String> sendUntilReceived(DefaultMQProducer producer, String topic, Received received) throws Exception {
        for (int queue = 0; queue < 2; queue++) {
            int id = queue;
            Await.until("queue " + queue + " to be pulled", () -> {
                assertSent(producer.send(message(topic, "probe"), TO_QUEUE, id));
                Await.pause(200);
                return received.messages().stream().anyMatch(m -> m.getQueueId() == id);
            });
        }
        int probes = received.size();
        List<String> future = sendMany(producer, topic, "future", 10);
        received.awaitAll(future);
        assertTrue(received.bodies().stream().noneMatch(b -> b.startsWith("past")), received.bodies().toString());
        List<String> all = new ArrayList<>(future);
        received.bodies().stream().filter("probe"::equals).forEach(all::add);
        assertTrue(probes > 0);
        return all;
    }

    private void awaitMembers(String group, int count) {
        Await.until(count + " members of " + group,
            () -> pair().admin.examineConsumerConnectionInfo(group).getConnectionSet().size() == count);
    }

    private static Stream<String> union(Received one, Received two) {
        return Stream.concat(one.bodies().stream(), two.bodies().stream());
    }
}
