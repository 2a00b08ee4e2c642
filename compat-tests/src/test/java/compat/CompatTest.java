package compat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.MessageQueueSelector;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.AfterEach;

import static org.junit.jupiter.api.Assertions.assertEquals;

/**
 * What every test class needs: a pair of servers, names nobody else uses, and clients that are shut down afterwards.
 */
abstract class CompatTest {
    /** Sends to the queue whose id is the argument. */
    static final MessageQueueSelector TO_QUEUE = (queues, message, id) ->
        queues.stream().filter(queue -> queue.getQueueId() == (Integer) id).findFirst().orElseThrow();

    private static final AtomicLong SEQUENCE = new AtomicLong();

    private final Deque<Runnable> open = new ArrayDeque<>();

    /** The servers under test; classes that stop or configure them return their own. */
    Pair pair() {
        return Pair.shared();
    }

    @AfterEach
    void shutDownClients() {
        while (!open.isEmpty()) {
            open.pop().run();
        }
    }

    /** Has {@code close} run when the test is over. */
    void closeLater(Runnable close) {
        open.push(close);
    }

    /** A topic, group or key that no other test uses. */
    static String unique(String prefix) {
        return prefix + "-" + Long.toString(System.currentTimeMillis(), 36) + "-" + SEQUENCE.incrementAndGet();
    }

    /** Creates a topic and waits until clients can find it. */
    String newTopic(String prefix, int queues) throws Exception {
        String topic = unique(prefix);
        createTopic(topic, queues, 6);
        return topic;
    }

    void createTopic(String topic, int queues, int perm) throws Exception {
        pair().admin.createAndUpdateTopicConfig(pair().brokerAddr(), new TopicConfig(topic, queues, queues, perm));
        Await.until("permission " + perm + " of " + topic + " at the name server",
            () -> pair().awaitRoute(topic).getPerm() == perm);
    }

    /** Not started, for tests that set options. */
    DefaultMQProducer newProducer() {
        DefaultMQProducer producer = new DefaultMQProducer(unique("PG"));
        producer.setNamesrvAddr(pair().namesrvAddr());
        producer.setSendMsgTimeout(15_000);
        closeLater(producer::shutdown);
        return producer;
    }

    DefaultMQProducer startProducer() throws MQClientException {
        DefaultMQProducer producer = newProducer();
        producer.start();
        return producer;
    }

    /** Not started, reads from the first message on, for tests that set options or listeners. */
    DefaultMQPushConsumer newConsumer(String group, String topic, String tags) throws MQClientException {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(pair().namesrvAddr());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // A rebalance that loses the race for the heartbeat lock is told to the broker by the next heartbeat only.
        consumer.setHeartbeatBrokerInterval(2_000);
        // Soon enough to learn of the retry topic, which the broker creates when the group is first heard of.
        consumer.setPollNameServerInterval(1_000);
        // The same race makes the first pull fail; the client would then wait 3 s.
        consumer.setPullTimeDelayMillsWhenException(200);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(4);
        consumer.subscribe(topic, MessageSelector.byTag(tags));
        closeLater(consumer::shutdown);
        return consumer;
    }

    /** Started, and collecting all it gets. */
    Received consume(String group, String topic, String tags) throws MQClientException {
        DefaultMQPushConsumer consumer = newConsumer(group, topic, tags);
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        return received;
    }

    /** A lite pull consumer, not started. */
    DefaultLitePullConsumer newLitePull(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(pair().namesrvAddr());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        closeLater(consumer::shutdown);
        return consumer;
    }

    /** A started client that pulls queue by queue. */
    DefaultMQPullConsumer startPuller() throws MQClientException {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(unique("Puller"));
        consumer.setNamesrvAddr(pair().namesrvAddr());
        consumer.start();
        closeLater(consumer::shutdown);
        return consumer;
    }

    MessageQueue queue(String topic, int id) {
        return new MessageQueue(topic, pair().brokerName(), id);
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    static Message message(String topic, String tags, String keys, String body) {
        return new Message(topic, tags, keys, body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Sends {@code prefix-0} to {@code prefix-(count - 1)}, spread over the queues, until consumers can get them all; returns the bodies. */
    static List<String> sendMany(DefaultMQProducer producer, String topic, String prefix, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        Map<MessageQueue, Long> last = new HashMap<>();
        for (int i = 0; i < count; i++) {
            bodies.add(prefix + "-" + i);
            SendResult result = assertSent(producer.send(message(topic, bodies.get(i))));
            last.put(result.getMessageQueue(), result.getQueueOffset());
        }
        // A send is acknowledged before its queue has it, so one pop straight after may get the first messages only.
        last.forEach((queue, offset) -> Await.until(offset + " in " + queue, () -> producer.maxOffset(queue) > offset));
        return bodies;
    }

    static SendResult assertSent(SendResult result) {
        assertEquals(SendStatus.SEND_OK, result.getSendStatus());
        return result;
    }
}
