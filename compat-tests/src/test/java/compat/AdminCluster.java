package compat;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * A NameServer, two brokers and what an operator would find in them, the same each time: see {@link MqAdminConformanceTest}.
 *
 * <p>{@code Orders}: two queues on broker a, ten messages, read by the live group {@code Online} and partly by {@code Idle}.
 * {@code Shared}: two queues on each broker, one message in each. {@code Reset}: two messages in one of two queues on broker a.
 * {@code Writers}: the live producer. Names, client ids and offsets never change, so that what the tool prints can be compared.
 */
final class AdminCluster {
    static final String NAME = "AdminCluster";
    static final String A = "admin-a";
    static final String B = "admin-b";
    private static final String CLIENT_IP = "10.0.0.1";
    static final String CONSUMER_ID = CLIENT_IP + "@consumer";

    final Server namesrv;
    final Server a;
    final Server b;
    final Path work = Server.freshHome("mqadmin-work");
    final DefaultMQAdminExt admin = new DefaultMQAdminExt();
    /** What stands in the commands for what differs from run to run. */
    final Map<String, String> placeholders = new LinkedHashMap<>();
    private final Deque<Runnable> open = new ArrayDeque<>();

    AdminCluster() throws Exception {
        namesrv = Server.namesrv(Kind.namesrv(), "mqadmin-namesrv").start();
        a = broker(A);
        b = broker(B);
        Thread second = new Thread(b::start);
        second.start();
        a.start();
        second.join();
        admin.setNamesrvAddr(namesrv.address());
        admin.setInstanceName("mqadmin-conformance");
        admin.start();
        open.push(admin::shutdown);
        Await.until("both brokers to be registered", () -> admin.examineBrokerClusterInfo().getBrokerAddrTable().size() == 2);
        placeholders.put("{a}", a.address());
        placeholders.put("{b}", b.address());
        placeholders.put("{namesrv}", namesrv.address());
        placeholders.put("{work}", work.toString());
        placeholders.put("{client}", CONSUMER_ID);
        fill();
    }

    private Server broker(String name) {
        Map<String, String> config = new LinkedHashMap<>(Pair.SMALL_FILES);
        config.put("brokerClusterName", NAME);
        config.put("brokerName", name);
        config.put("traceTopicEnable", "true");
        return Server.broker(Kind.broker(), "mqadmin-" + name, namesrv.address(), config);
    }

    private void fill() throws Exception {
        topic(a, "Orders", 2);
        topic(a, "Shared", 2);
        topic(b, "Shared", 2);
        topic(a, "Reset", 2);
        group("Online");
        group("Idle");
        DefaultMQProducer producer = producer("Writers", "producer", false);
        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            sent.add(send(producer, new Message("Orders", i % 4 < 2 ? "TagA" : "TagB", "key-" + i, bytes("order " + i)), A, i % 2));
        }
        for (int i = 0; i < 4; i++) {
            send(producer, new Message("Shared", "TagS", "shared-" + i, bytes("shared " + i)), i < 2 ? A : B, i % 2);
        }
        send(producer, new Message("Reset", bytes("one")), A, 0);
        send(producer, new Message("Reset", bytes("two")), A, 0);
        SendResult traced = producer("Traced", "traced", true)
            .send(new Message("Orders", "TagT", "traced", bytes("traced")), new MessageQueue("Orders", A, 0));
        placeholders.put("{offsetId}", sent.get(3).getOffsetMsgId());
        placeholders.put("{uniqueId}", sent.get(3).getMsgId());
        placeholders.put("{tracedId}", traced.getMsgId());

        DefaultMQPushConsumer consumer = consumer();
        Await.until("the group Online to have committed", () -> admin.examineConsumeStats("Online", "Orders").computeTotalDiff() == 0
            && admin.examineConsumeStats("Online", "Orders").getOffsetTable().size() == 2);
        Await.until("the producer to be known", () ->
            !admin.examineProducerConnectionInfo("Writers", "Orders").getConnectionSet().isEmpty());
        admin.updateConsumeOffset(a.address(), "Idle", new MessageQueue("Orders", A, 0), 3);
        admin.updateConsumeOffset(a.address(), "Idle", new MessageQueue("Orders", A, 1), 2);
        // The first pull consumer of the tool creates a retry topic, which would show up in some lists or not.
        new MqAdmin(namesrv.address()).attempt("printMsg", "-t", "Shared");
        Files.writeString(work.resolve("topics.json"),
            "[{\"topicName\":\"ListA\",\"readQueueNums\":3,\"writeQueueNums\":2,\"perm\":6},{\"topicName\":\"ListB\",\"perm\":4}]");
        Files.writeString(work.resolve("groups.json"), "[{\"groupName\":\"ListGroupA\",\"retryMaxTimes\":3},{\"groupName\":\"ListGroupB\"}]");
    }

    /** A topic of this many queues, known to clients when this returns. */
    void topic(Server broker, String topic, int queues) throws Exception {
        admin.createAndUpdateTopicConfig(broker.address(), new TopicConfig(topic, queues, queues, 6));
        Await.until("the route of " + topic, () -> admin.examineTopicRouteInfo(topic).getQueueDatas().stream()
            .anyMatch(data -> data.getBrokerName().equals(broker.config.get("brokerName"))));
    }

    void group(String group) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        admin.createAndUpdateSubscriptionGroupConfig(a.address(), config);
    }

    private DefaultMQProducer producer(String group, String instance, boolean traced) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group, traced, null);
        producer.setNamesrvAddr(namesrv.address());
        producer.setClientIP(CLIENT_IP);
        producer.setInstanceName(instance);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.setSendMsgTimeout(15_000);
        producer.start();
        open.push(producer::shutdown);
        return producer;
    }

    private DefaultMQPushConsumer consumer() throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("Online");
        consumer.setNamesrvAddr(namesrv.address());
        consumer.setClientIP(CLIENT_IP);
        consumer.setInstanceName("consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setPollNameServerInterval(1_000);
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        consumer.subscribe("Orders", "TagA || TagB || TagT");
        consumer.registerMessageListener((MessageListenerConcurrently) new Received()::accept);
        consumer.start();
        open.push(consumer::shutdown);
        return consumer;
    }

    private static SendResult send(DefaultMQProducer producer, Message message, String broker, int queue) throws Exception {
        return CompatTest.assertSent(producer.send(message, new MessageQueue(message.getTopic(), broker, queue)));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    void dispose() {
        while (!open.isEmpty()) {
            open.pop().run();
        }
        List.of(a, b, namesrv).forEach(Server::dispose);
        Server.deleteTree(work);
        removeConsumerStatus();
    }

    /** The tool writes what consumerStatus finds to a directory named after the time, where it happens to run. */
    private static void removeConsumerStatus() {
        File[] directories = new File(".").listFiles(file -> file.isDirectory() && file.getName().matches("\\d{13}"));
        for (File directory : directories == null ? new File[0] : directories) {
            Server.deleteTree(directory.toPath());
        }
    }
}
