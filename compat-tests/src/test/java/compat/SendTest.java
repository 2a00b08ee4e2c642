package compat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.utils.NetworkUtil;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Every way to send, and what arrives. */
class SendTest extends CompatTest {
    private static final int FOUR_MIB = 4 * 1024 * 1024;

    @Test
    @Tag("mixed")
    void aSyncSendNamesThePlaceAndAllFieldsArrive() throws Exception {
        String topic = newTopic("SendSync", 2);
        DefaultMQProducer producer = startProducer();
        Message sent = message(topic, "TagA", "key-1 key-2", "body é 中文");
        sent.setFlag(77);
        sent.putUserProperty("color", "dark red");

        SendResult result = assertSent(producer.send(sent, TO_QUEUE, 1));

        assertEquals(queue(topic, 1), result.getMessageQueue());
        assertEquals(0, result.getQueueOffset());
        MessageExt received = consume(unique("CG"), topic, "*").awaitCount(1).get(0);
        assertEquals("body é 中文", body(received));
        assertEquals(topic, received.getTopic());
        assertEquals("TagA", received.getTags());
        assertEquals("key-1 key-2", received.getKeys());
        assertEquals("dark red", received.getUserProperty("color"));
        assertEquals(77, received.getFlag());
        assertEquals(1, received.getQueueId());
        assertEquals(0, received.getQueueOffset());
        assertEquals(0, received.getReconsumeTimes());
        assertEquals(result.getMsgId(), received.getMsgId());
        assertEquals(pair().brokerAddr(), NetworkUtil.socketAddress2String(received.getStoreHost()));
        assertTrue(received.getStoreTimestamp() >= received.getBornTimestamp());
    }

    @Test
    void queueOffsetsOfOneQueueAreConsecutive() throws Exception {
        String topic = newTopic("SendOffsets", 3);
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < 30; i++) {
            SendResult result = assertSent(producer.send(message(topic, "m-" + i), TO_QUEUE, i % 3));
            assertEquals(i / 3, result.getQueueOffset());
        }
    }

    @Test
    @Tag("mixed")
    void asyncSendsAreAllAnsweredAndDelivered() throws Exception {
        String topic = newTopic("SendAsync", 4);
        DefaultMQProducer producer = startProducer();
        Set<String> acknowledged = ConcurrentHashMap.newKeySet();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            String body = "async-" + i;
            bodies.add(body);
            producer.send(message(topic, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    assertSent(result);
                    acknowledged.add(body);
                }

                @Override
                public void onException(Throwable e) {
                    failure.set(e);
                }
            });
        }
        Await.until("all answers", () -> acknowledged.size() == bodies.size() || failure.get() != null);
        assertNull(failure.get());
        consume(unique("CG"), topic, "*").awaitExactly(bodies);
    }

    @Test
    void oneWaySendsArrive() throws Exception {
        String topic = newTopic("SendOneWay", 2);
        DefaultMQProducer producer = startProducer();
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            bodies.add("oneway-" + i);
            producer.sendOneway(message(topic, bodies.get(i)));
        }
        consume(unique("CG"), topic, "*").awaitExactly(bodies);
    }

    @Test
    void eachMessageOfABatchKeepsItsOwnUniqueId() throws Exception {
        String topic = newTopic("SendBatch", 1);
        DefaultMQProducer producer = startProducer();
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            batch.add(message(topic, "Tag" + i % 2, "key-" + i, "batch-" + i));
        }

        SendResult result = assertSent(producer.send(batch));

        List<String> ids = Arrays.asList(result.getMsgId().split(","));
        List<String> offsetIds = Arrays.asList(result.getOffsetMsgId().split(","));
        assertEquals(10, new HashSet<>(ids).size());
        assertEquals(10, new HashSet<>(offsetIds).size());
        assertEquals(0, result.getQueueOffset());
        List<MessageExt> received = consume(unique("CG"), topic, "*").awaitCount(10);
        for (MessageExt message : received) {
            int i = (int) message.getQueueOffset();
            assertEquals("batch-" + i, body(message));
            assertEquals("key-" + i, message.getKeys());
            assertEquals("Tag" + i % 2, message.getTags());
            assertEquals(ids.get(i), message.getMsgId());
            assertEquals("batch-" + i, body(pair().admin.viewMessage(topic, offsetIds.get(i))));
        }
    }

    @Test
    void aBodyOfFourMiBLessOneByteArrivesWhole() throws Exception {
        String topic = newTopic("SendLarge", 1);
        DefaultMQProducer producer = newProducer();
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.start();
        byte[] body = new byte[FOUR_MIB - 1];
        new Random(5).nextBytes(body);

        for (int i = 0; i < 3; i++) {
            assertSent(producer.send(new Message(topic, body)));
        }

        Received received = consume(unique("CG"), topic, "*");
        for (MessageExt message : received.awaitCount(3)) {
            assertArrayEquals(body, message.getBody());
        }
    }

    @ParameterizedTest
    @EnumSource(CompressionType.class)
    void aCompressedBodyIsStoredSmallAndArrivesWhole(CompressionType type) throws Exception {
        String topic = newTopic("SendCompressed", 1);
        DefaultMQProducer producer = newProducer();
        producer.setCompressMsgBodyOverHowmuch(4096);
        producer.setCompressType(type);
        producer.start();
        byte[] body = "a text that repeats itself; ".repeat(40_000).getBytes(StandardCharsets.UTF_8);

        assertSent(producer.send(new Message(topic, body)));

        MessageExt message = consume(unique("CG"), topic, "*").awaitCount(1).get(0);
        assertArrayEquals(body, message.getBody());
        assertTrue(message.getStoreSize() < body.length / 10, "stored " + message.getStoreSize() + " bytes");
    }

    @Test
    void aSelectorKeepsEachKeyInOneQueue() throws Exception {
        String topic = newTopic("SendSelector", 4);
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < 40; i++) {
            int order = i % 8;
            Message message = message(topic, "order-" + order, null, "step-" + i / 8);
            assertSent(producer.send(message, (queues, m, arg) -> queues.get((Integer) arg % queues.size()), order));
        }
        Map<String, Set<Integer>> queuesOfOrder = consume(unique("CG"), topic, "*").awaitCount(40).stream()
            .collect(Collectors.groupingBy(MessageExt::getTags, Collectors.mapping(MessageExt::getQueueId, Collectors.toSet())));
        assertEquals(8, queuesOfOrder.size());
        queuesOfOrder.forEach((order, queues) -> assertEquals(1, queues.size(), order + " in queues " + queues));
    }

    @Test
    void theVipChannelTakesMessages() throws Exception {
        String topic = newTopic("SendVip", 1);
        DefaultMQProducer producer = newProducer();
        producer.setVipChannelEnabled(true);
        producer.start();
        List<String> bodies = sendMany(producer, topic, "vip", 5);
        consume(unique("CG"), topic, "*").awaitExactly(bodies);
    }

    @Test
    @Tag("mixed")
    void sendingToAnUnknownTopicCreatesIt() throws Exception {
        String topic = unique("SendAutoCreate");
        List<String> bodies = sendMany(startProducer(), topic, "auto", 8);

        // The producer asks for 4 queues (defaultTopicQueueNums of the client), the broker would allow 8.
        QueueData route = pair().awaitRoute(topic);
        assertEquals(4, route.getWriteQueueNums());
        assertEquals(4, route.getReadQueueNums());
        assertEquals(6, route.getPerm());
        consume(unique("CG"), topic, "*").awaitExactly(bodies);
    }

    /** A topic says what kind of messages it is for; it is the proxy that holds producers to it. */
    @Test
    void theBrokerTakesMessagesOfAnyTypeIntoATopicOfOne() throws Exception {
        DefaultMQProducer producer = startProducer();
        for (String type : List.of("NORMAL", "FIFO", "DELAY", "TRANSACTION", "PRIORITY")) {
            String topic = typedTopic(type);
            assertSent(producer.send(message(topic, "plain")));
            Message fifo = message(topic, "in order");
            fifo.putUserProperty("shop", "one");
            MessageAccessor.putProperty(fifo, MessageConst.PROPERTY_SHARDING_KEY, "one");
            assertSent(producer.send(fifo));
            Message delayed = message(topic, "delayed");
            delayed.setDelayTimeLevel(1);
            assertSent(producer.send(delayed));
        }
    }

    private String typedTopic(String type) throws Exception {
        TopicConfig config = new TopicConfig(unique("Typed"), 1, 1, 6);
        config.setAttributes(Map.of("+message.type", type));
        pair().admin.createAndUpdateTopicConfig(pair().brokerAddr(), config);
        pair().awaitRoute(config.getTopicName());
        return config.getTopicName();
    }
}
