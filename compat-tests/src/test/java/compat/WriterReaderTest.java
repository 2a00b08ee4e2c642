package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * A store directory changes hands: one broker writes and stops, another serves and extends it and is killed, and the
 * first recovers what the other left.
 *
 * <p>Which two is said in {@link ExchangeTest}.
 */
class WriterReaderTest extends ExchangeTest {
    private static final int QUEUES = 2;

    @ParameterizedTest
    @MethodSource("pairs")
    void aStoreWrittenByOneBrokerIsServedExtendedAndLeftByAnother(Kind writer, Kind reader) throws Exception {
        begin(writer, "exchange", Pair.SMALL_FILES);
        String topic = newTopic("Exchange", QUEUES);
        String group = unique("CG");
        write(topic, group);
        Map<String, Object> written = snapshot(topic, group);
        broker.stop();

        continueWith(reader);
        assertEquals(written, snapshot(topic, group));
        List<String> appended = sendMany(startProducer(), topic, "appended", 20);
        consume(group, topic, "*").awaitAll(appended);
        Await.until("the appended messages in the queues", () -> messagesIn(topic) == 145);
        shutDownClients();
        Map<String, Object> extended = snapshot(topic, group);
        broker.kill();

        continueWith(writer);
        Map<String, Object> recovered = snapshot(topic, group);
        // Committed offsets are written every few seconds: the last ones may be lost by a kill.
        assertEquals(without("offsets", extended), without("offsets", recovered));
        assertSent(startProducer().send(message(topic, "and on")));
        broker.kill();
    }

    /** Sends 125 messages of several sorts; has the group consume them all, and one that is delayed beside them. */
    private void write(String topic, String group) throws Exception {
        DefaultMQProducer producer = newProducer();
        producer.setCompressMsgBodyOverHowmuch(2048);
        producer.start();
        for (int i = 0; i < 100; i++) {
            Message message = message(topic, "Tag" + i % 3, "key-" + i + " shared-" + i % 4, "plain-" + i);
            message.putUserProperty("color", i % 2 == 0 ? "red" : "blue");
            message.setFlag(i);
            assertSent(producer.send(message));
        }
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            batch.add(message(topic, "B", "batch-key-" + i, "batch-" + i));
        }
        assertSent(producer.send(batch));
        for (int i = 0; i < 14; i++) {
            assertSent(producer.send(message(topic, "Z", "large-key-" + i, "large text ".repeat(1000 + i))));
        }
        Message delayed = message(topic, "D", "delayed-key", "delayed");
        delayed.setDelayTimeLevel(1);
        assertSent(producer.send(delayed));
        Received received = new Received();
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        received.awaitCount(125);
        consumer.shutdown();
        Await.until("the last index entry", () -> !lookUp(topic, "delayed-key").isEmpty());
    }

    private long messagesIn(String topic) throws Exception {
        long messages = 0;
        for (int id = 0; id < QUEUES; id++) {
            messages += pair.admin.maxOffset(queue(topic, id));
        }
        return messages;
    }

    /** What clients can see of a topic and a group. */
    private Map<String, Object> snapshot(String topic, String group) throws Exception {
        StoreReader reader = new StoreReader(pair, startPuller());
        Map<String, Object> seen = new TreeMap<>();
        for (int id = 0; id < QUEUES; id++) {
            long begin = pair.admin.minOffset(queue(topic, id));
            long end = pair.admin.maxOffset(queue(topic, id));
            List<MessageExt> messages = reader.pull(queue(topic, id), begin, end);
            assertEquals(end - begin, messages.size(), "messages of queue " + id);
            assertTrue(end > 50, "queue " + id + " ends at " + end);
            seen.put("messages " + id, messages.stream().map(StoreReader::describe).collect(Collectors.toList()));
            List<Long> byTime = new ArrayList<>();
            for (MessageExt message : messages) {
                byTime.add(pair.admin.searchOffset(queue(topic, id), message.getStoreTimestamp()));
            }
            seen.put("offsets by time " + id, byTime);
        }
        for (String key : List.of("key-17", "shared-3", "batch-key-4", "large-key-3", "delayed-key")) {
            List<String> found = lookUp(topic, key);
            assertEquals(key.equals("shared-3") ? 25 : 1, found.size(), key + ": " + found);
            seen.put(key, found);
        }
        Map<String, Long> offsets = new TreeMap<>();
        pair.admin.examineConsumeStats(group).getOffsetTable()
            .forEach((queue, wrapper) -> offsets.put(queue.toString(), wrapper.getConsumerOffset()));
        seen.put("offsets", offsets);
        seen.put("topic", pair.admin.examineTopicConfig(pair.brokerAddr(), topic).toString());
        return seen;
    }

    private List<String> lookUp(String topic, String key) throws Exception {
        return pair.admin.queryMessage(topic, key, 64, 0, Long.MAX_VALUE).getMessageList().stream()
            .map(message -> message.getQueueId() + "/" + message.getQueueOffset() + "/" + message.getMsgId())
            .sorted().collect(Collectors.toList());
    }

    private static Map<String, Object> without(String key, Map<String, Object> snapshot) {
        Map<String, Object> rest = new TreeMap<>(snapshot);
        rest.remove(key);
        return rest;
    }
}
