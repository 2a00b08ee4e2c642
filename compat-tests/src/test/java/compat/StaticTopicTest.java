package compat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.store.OffsetStore;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.statictopic.TopicConfigAndQueueMapping;
import org.apache.rocketmq.remoting.protocol.statictopic.TopicQueueMappingUtils;
import org.apache.rocketmq.remoting.protocol.statictopic.TopicRemappingDetailWrapper;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.admin.MQAdminUtils;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

import static org.apache.rocketmq.client.consumer.store.ReadOffsetType.READ_FROM_STORE;
import static org.junit.jupiter.api.Assertions.assertEquals;

/** A static topic whose queues move from one broker to another while its messages stay where they were stored. */
class StaticTopicTest extends CompatTest {
    private static final String CLUSTER = "StaticCluster";
    private static final String TOPIC = "Moving";
    /** The broker name that clients see for queues of static topics. */
    private static final String LOGICAL = "__syslo__global__";

    private final List<Server> servers = new ArrayList<>();
    private final DefaultMQAdminExt admin = new DefaultMQAdminExt();
    private String namesrvAddr;

    @Test
    void aConsumerReadsWhatWasStoredBeforeAndAfterAMoveAndGoesOnAfterARestart() throws Exception {
        startCluster();
        create("static-a");
        DefaultMQProducer producer = producer();
        List<String> before = send(producer, "before", 5);
        Await.until("5 messages", () -> producer.maxOffset(queue(0)) + producer.maxOffset(queue(1)) == 5);

        moveTo("static-b");
        Await.until("the logical offsets on the new broker", () -> producer.maxOffset(queue(0)) >= 10_000);
        List<String> after = send(producer, "after", 5);
        // A Java broker learns only now and then where its peers are.
        Await.until("the first offset at the old broker", () -> producer.minOffset(queue(0)) == 0 && producer.searchOffset(queue(0), 0) == 0);

        Received received = new Received();
        DefaultMQPushConsumer consumer = consumer(received);
        List<String> all = new ArrayList<>(before);
        all.addAll(after);
        received.awaitExactly(all);
        if (Kind.broker() == Kind.JAVA) {
            // It takes the logical offset that a pull commits for one of the place's own queue, and loses the progress of a moved queue.
            return;
        }
        OffsetStore offsets = consumer.getDefaultMQPushConsumerImpl().getOffsetStore();
        for (int id = 0; id < 2; id++) {
            MessageQueue queue = queue(id);
            Await.until(() -> "the committed offset " + offsets.readOffset(queue, READ_FROM_STORE) + " of " + queue, Await.LIMIT,
                () -> offsets.readOffset(queue, READ_FROM_STORE) == producer.maxOffset(queue));
        }
        consumer.shutdown();

        servers.get(2).stop();
        servers.get(2).start();
        List<String> later = new ArrayList<>();
        Await.until("the restarted broker to take messages", () -> later.addAll(send(producer, "later", 1)));
        Received again = new Received();
        consumer(again);
        again.awaitExactly(later);
    }

    /** What mqadmin updateStaticTopic does. */
    private void create(String broker) throws Exception {
        Map<String, TopicConfigAndQueueMapping> brokers = new HashMap<>();
        TopicQueueMappingUtils.createTopicConfigMapping(TOPIC, 2, Set.of(broker), brokers);
        MQAdminUtils.completeNoTargetBrokers(brokers, admin);
        MQAdminUtils.updateTopicConfigMappingAll(brokers, admin, false);
    }

    /** What mqadmin remappingStaticTopic does. */
    private void moveTo(String broker) throws Exception {
        Map<String, TopicConfigAndQueueMapping> brokers = MQAdminUtils.examineTopicConfigAll(TOPIC, admin);
        TopicRemappingDetailWrapper plan = TopicQueueMappingUtils.remappingStaticTopic(TOPIC, brokers, Set.of(broker));
        MQAdminUtils.completeNoTargetBrokers(plan.getBrokerConfigMap(), admin);
        MQAdminUtils.remappingStaticTopic(TOPIC, plan.getBrokerToMapIn(), plan.getBrokerToMapOut(), plan.getBrokerConfigMap(), 10_000, false, admin);
    }

    private void startCluster() throws Exception {
        servers.add(Server.namesrv(Kind.namesrv(), "static-namesrv").start());
        namesrvAddr = servers.get(0).address();
        for (String name : List.of("static-a", "static-b")) {
            Map<String, String> config = new LinkedHashMap<>(Pair.SMALL_FILES);
            config.put("brokerClusterName", CLUSTER);
            servers.add(Server.broker(Kind.broker(), name, namesrvAddr, config).start());
        }
        admin.setNamesrvAddr(namesrvAddr);
        admin.setInstanceName("static-topic");
        admin.start();
        Await.until("both brokers to be registered", () -> admin.examineBrokerClusterInfo().getBrokerAddrTable().size() == 2);
    }

    @AfterEach
    void stopCluster() {
        shutDownClients();
        admin.shutdown();
        servers.forEach(Server::dispose);
    }

    private DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(unique("PG"));
        producer.setNamesrvAddr(namesrvAddr);
        producer.setPollNameServerInterval(500);
        producer.setSendMsgTimeout(15_000);
        producer.start();
        closeLater(producer::shutdown);
        return producer;
    }

    private DefaultMQPushConsumer consumer(Received received) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("StaticReaders");
        consumer.setNamesrvAddr(namesrvAddr);
        consumer.setInstanceName(unique("static"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setPollNameServerInterval(1_000);
        consumer.setPullTimeDelayMillsWhenException(200);
        consumer.subscribe(TOPIC, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        closeLater(consumer::shutdown);
        return consumer;
    }

    /** Sends to queue 0 mostly, each message when the producer knows where the queue is. */
    private static List<String> send(DefaultMQProducer producer, String prefix, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String body = prefix + "-" + i;
            Message message = new Message(TOPIC, body.getBytes(StandardCharsets.UTF_8));
            int queue = i == 1 ? 1 : 0;
            SendResult[] sent = new SendResult[1];
            Await.until("a broker that takes " + body, () -> (sent[0] = producer.send(message, TO_QUEUE, queue)) != null);
            assertEquals(queue, assertSent(sent[0]).getMessageQueue().getQueueId());
            bodies.add(body);
        }
        return bodies;
    }

    private static MessageQueue queue(int id) {
        return new MessageQueue(TOPIC, LOGICAL, id);
    }
}
