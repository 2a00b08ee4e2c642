package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

/** Finding messages without consuming them. */
class QueryTest extends CompatTest {
    @Test
    @Tag("mixed")
    void messagesAreFoundByEachOfTheirKeys() throws Exception {
        String topic = newTopic("QueryKey", 2);
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < 12; i++) {
            assertSent(producer.send(message(topic, "T", "single-" + i + " shared-" + i % 3, "m-" + i)));
        }
        assertEquals(List.of("m-7"), query(topic, "single-7", 1));
        assertEquals(List.of("m-1", "m-10", "m-4", "m-7"), query(topic, "shared-1", 4));
    }

    @Test
    void aKeyNobodyUsedIsNotFound() throws Exception {
        String topic = newTopic("QueryNoKey", 1);
        sendMany(startProducer(), topic, "m", 1);
        MQClientException e = assertThrows(MQClientException.class,
            () -> pair().admin.queryMessage(topic, "nobody", 32, 0, Long.MAX_VALUE));
        assertEquals(208, e.getResponseCode());
    }

    @Test
    void theTimeRangeOfAKeyQueryIsHonoured() throws Exception {
        String topic = newTopic("QueryRange", 1);
        DefaultMQProducer producer = startProducer();
        assertSent(producer.send(message(topic, "T", "range-key", "early")));
        // The index keeps whole seconds, rounded down: look from a second before the later message.
        Await.pause(2_500);
        long from = System.currentTimeMillis() - 1_100;
        assertSent(producer.send(message(topic, "T", "range-key", "late")));
        assertEquals(List.of("early", "late"), query(topic, "range-key", 2));
        QueryResult result = pair().admin.queryMessage(topic, "range-key", 32, from, Long.MAX_VALUE);
        assertEquals(List.of("late"), bodies(result));
    }

    @Test
    @Tag("mixed")
    void aMessageIsFoundByItsUniqueIdAndByItsOffsetId() throws Exception {
        String topic = newTopic("QueryId", 2);
        DefaultMQProducer producer = startProducer();
        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            sent.add(assertSent(producer.send(message(topic, "T", "k", "m-" + i), TO_QUEUE, i % 2)));
        }
        for (int i = 0; i < 5; i++) {
            SendResult result = sent.get(i);
            Await.until("the index entry of " + result.getMsgId(), () -> producer.viewMessage(topic, result.getMsgId()) != null);
            for (String id : List.of(result.getMsgId(), result.getOffsetMsgId())) {
                MessageExt found = producer.viewMessage(topic, id);
                assertEquals("m-" + i, body(found));
                assertEquals(topic, found.getTopic());
                assertEquals(result.getQueueOffset(), found.getQueueOffset());
                assertEquals(i % 2, found.getQueueId());
                assertEquals("k", found.getKeys());
            }
        }
    }

    @Test
    void theEndsOfAQueueAndOffsetsByTimeAreAnswered() throws Exception {
        String topic = newTopic("QueryOffsets", 1);
        DefaultMQProducer producer = startProducer();
        assertEquals(0, pair().admin.maxOffset(queue(topic, 0)));
        assertEquals(0, pair().admin.minOffset(queue(topic, 0)));
        List<Long> stored = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            String id = assertSent(producer.send(message(topic, "m-" + i))).getOffsetMsgId();
            stored.add(pair().admin.viewMessage(topic, id).getStoreTimestamp());
            Await.pause(5);
        }
        Await.until("5 messages in the queue", () -> pair().admin.maxOffset(queue(topic, 0)) == 5);
        assertEquals(0, pair().admin.minOffset(queue(topic, 0)));
        for (int i = 0; i < 5; i++) {
            assertEquals(i, pair().admin.searchOffset(queue(topic, 0), stored.get(i)), "offset of message " + i);
        }
        assertEquals(0, pair().admin.searchOffset(queue(topic, 0), stored.get(0) - 1));
        assertEquals(3, pair().admin.searchOffset(queue(topic, 0), stored.get(2) + 1));
        assertEquals(stored.get(0), pair().admin.earliestMsgStoreTime(queue(topic, 0)));
    }

    /** The index is built after the send has returned. */
    private List<String> query(String topic, String key, int count) {
        List<String> found = new ArrayList<>();
        Await.until(count + " messages of key " + key, () -> {
            found.clear();
            found.addAll(bodies(pair().admin.queryMessage(topic, key, 32, 0, Long.MAX_VALUE)));
            return found.size() >= count;
        });
        return found;
    }

    private static List<String> bodies(QueryResult result) {
        return result.getMessageList().stream().map(CompatTest::body).sorted().collect(Collectors.toList());
    }
}
