package compat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.api.parallel.ResourceAccessMode;
import org.junit.jupiter.api.parallel.ResourceLock;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * What operators run every day: outcome and content of the stock mqadmin's commands.
 *
 * <p>Methods run side by side, for most of a command's time is the tool's own shutdown.
 */
@Execution(ExecutionMode.CONCURRENT)
@ResourceLock(value = MqAdmin.LOCK, mode = ResourceAccessMode.READ)
class MqAdminTest extends CompatTest {
    private MqAdmin mqadmin;

    @BeforeEach
    void openTool() {
        mqadmin = new MqAdmin(pair());
    }

    @Test
    @Tag("mixed")
    void clusterListShowsTheBroker() {
        awaitStatistics();
        mqadmin.run("clusterList").assertRow(Pair.CLUSTER, pair().brokerName(), "0", pair().brokerAddr(), "V5_5_0");
        mqadmin.run("clusterList", "-m").assertRow(Pair.CLUSTER, pair().brokerName());
    }

    @Test
    void topicListShowsUserAndSystemTopics() throws Exception {
        String topic = newTopic("AdminList", 1);
        String group = consumeAll(topic, sendMany(startProducer(), topic, "m", 1));
        List<String> topics = mqadmin.run("topicList").lines();
        for (String expected : List.of(topic, Pair.CLUSTER, pair().brokerName(), "TBW102", "SELF_TEST_TOPIC",
            "RMQ_SYS_TRANS_HALF_TOPIC", "SCHEDULE_TOPIC_XXXX", "%RETRY%" + group)) {
            assertTrue(topics.contains(expected), () -> "no " + expected + " in " + topics);
        }
        mqadmin.run("topicList", "-c").assertRow(Pair.CLUSTER, topic, group);
    }

    @Test
    @Tag("mixed")
    void topicRouteShowsQueuesAndAddress() throws Exception {
        String topic = newTopic("AdminRoute", 3);
        mqadmin.run("topicRoute", "-t", topic)
            .assertHas("\"readQueueNums\":3").assertHas("\"writeQueueNums\":3").assertHas("\"perm\":6")
            .assertHas("\"brokerName\":\"" + pair().brokerName() + "\"").assertHas(pair().brokerAddr());
        mqadmin.run("topicRoute", "-l", "-t", topic)
            .assertRow(Pair.CLUSTER, pair().brokerName(), "{0=" + pair().brokerAddr() + "}", 3, 3, 6)
            .assertRow("Total:", 1, 3, 3);
        MqAdmin.Output unknown = mqadmin.attempt("topicRoute", "-t", unique("Nowhere"));
        assertTrue(unknown.err.contains("No topic route info in name server for the topic"), unknown.err);
    }

    @Test
    void topicStatusShowsTheEndsOfEachQueue() throws Exception {
        String topic = newTopic("AdminStatus", 2);
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < 5; i++) {
            assertSent(producer.send(message(topic, "m"), TO_QUEUE, 1));
        }
        Await.until("5 messages", () -> pair().admin.maxOffset(queue(topic, 1)) == 5);
        MqAdmin.Output status = mqadmin.run("topicStatus", "-t", topic);
        status.assertRow(pair().brokerName(), 0, 0, 0);
        assertTrue(status.lines().stream().anyMatch(line -> line.matches("\\Q" + pair().brokerName()
            + "\\E\\s+1\\s+0\\s+5\\s+\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d,\\d{3}")), status.out);
    }

    @Test
    @Tag("mixed")
    void updateTopicCreatesChangesAndDeleteTopicRemoves() throws Exception {
        String topic = unique("AdminTopic");
        mqadmin.run("updateTopic", "-b", pair().brokerAddr(), "-t", topic, "-r", "5", "-w", "4")
            .assertHas("create topic to " + pair().brokerAddr() + " success.").assertHas("topicName=" + topic);
        QueueData route = pair().awaitRoute(topic);
        assertEquals(5, route.getReadQueueNums());
        assertEquals(4, route.getWriteQueueNums());

        mqadmin.run("updateTopic", "-c", Pair.CLUSTER, "-t", topic, "-r", "8", "-w", "8", "-p", "4", "-a", "+message.type=FIFO")
            .assertHas("create topic to " + pair().brokerAddr() + " success.");
        Await.until("the changed route", () -> pair().awaitRoute(topic).getPerm() == 4);
        TopicConfig config = pair().admin.examineTopicConfig(pair().brokerAddr(), topic);
        assertEquals(8, config.getReadQueueNums());
        assertEquals(8, config.getWriteQueueNums());
        assertEquals(4, config.getPerm());
        assertEquals("FIFO", config.getAttributes().get("message.type"));

        mqadmin.run("deleteTopic", "-c", Pair.CLUSTER, "-t", topic)
            .assertHas("delete topic [" + topic + "] from cluster [" + Pair.CLUSTER + "] success.")
            .assertHas("delete topic [" + topic + "] from NameServer success.");
        MqAdmin.Output gone = mqadmin.attempt("topicRoute", "-t", topic);
        assertTrue(gone.err.contains("CODE: 17"), gone.err);
        assertTrue(!mqadmin.run("topicList").lines().contains(topic));
    }

    @Test
    void updateTopicRefusesABadNameAndSystemTopics() {
        MqAdmin.Output bad = mqadmin.attempt("updateTopic", "-b", pair().brokerAddr(), "-t", "bad name!");
        assertTrue(bad.failed(), bad.out);
        MqAdmin.Output system = mqadmin.attempt("updateTopic", "-b", pair().brokerAddr(), "-t", "SCHEDULE_TOPIC_XXXX");
        assertTrue(system.err.contains("The topic[SCHEDULE_TOPIC_XXXX] is conflict with system topic."), system.err);
    }

    @Test
    void updateSubGroupStoresTheConfiguration() throws Exception {
        String group = unique("AdminGroup");
        mqadmin.run("updateSubGroup", "-b", pair().brokerAddr(), "-g", group, "-r", "3", "-q", "2", "-m", "true", "-d", "false")
            .assertHas("create subscription group to " + pair().brokerAddr() + " success.").assertHas("groupName=" + group);
        SubscriptionGroupConfig config = pair().admin.examineSubscriptionGroupConfig(pair().brokerAddr(), group);
        assertEquals(3, config.getRetryMaxTimes());
        assertEquals(2, config.getRetryQueueNums());
        assertEquals(false, config.isConsumeBroadcastEnable());
        mqadmin.run("updateSubGroup", "-c", Pair.CLUSTER, "-g", group, "-r", "7")
            .assertHas("create subscription group to " + pair().brokerAddr() + " success.");
        assertEquals(7, pair().admin.examineSubscriptionGroupConfig(pair().brokerAddr(), group).getRetryMaxTimes());
    }

    @Test
    @Tag("mixed")
    void consumerProgressShowsEachQueueAndEachGroup() throws Exception {
        String topic = newTopic("AdminProgress", 2);
        DefaultMQProducer producer = startProducer();
        List<String> bodies = sendMany(producer, topic, "m", 10);
        String group = consumeAll(topic, bodies);
        for (int i = 0; i < 3; i++) {
            assertSent(producer.send(message(topic, "behind"), TO_QUEUE, 0));
        }
        Await.until("13 messages", () ->
            pair().admin.maxOffset(queue(topic, 0)) + pair().admin.maxOffset(queue(topic, 1)) == 13);
        long inQueue0 = pair().admin.maxOffset(queue(topic, 0));
        mqadmin.run("consumerProgress", "-g", group)
            .assertRow(topic, pair().brokerName(), 0, inQueue0, inQueue0 - 3, 3)
            .assertRow(topic, pair().brokerName(), 1, 13 - inQueue0, 13 - inQueue0, 0)
            .assertHas("Consume Diff Total: 3");

        Received received = consume(group, topic, "*");
        received.awaitCount(3);
        mqadmin.run("consumerProgress").assertRow(group, 1, "V5_5_0", "PUSH", "CLUSTERING");
    }

    @Test
    void consumerConnectionShowsClientsAndSubscription() throws Exception {
        String topic = newTopic("AdminConsumer", 1);
        String group = unique("CG");
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "A || B");
        start(consumer);
        String clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        Await.until("the heartbeat", () -> !mqadmin.attempt("consumerConnection", "-g", group).failed());
        MqAdmin.Output output = mqadmin.run("consumerConnection", "-g", group);
        assertTrue(output.lines().stream().anyMatch(line -> line.matches(
            "\\Q" + clientId + "\\E\\s+127\\.0\\.0\\.1:\\d+\\s+JAVA\\s+V5_5_0")), output.out);
        output.assertRow(topic, "A || B").assertRow("%RETRY%" + group, "*");
        assertEquals("CONSUME_PASSIVELY", output.value("ConsumeType"));
        assertEquals("CLUSTERING", output.value("MessageModel"));
        assertEquals("CONSUME_FROM_FIRST_OFFSET", output.value("ConsumeFromWhere"));

        consumer.shutdown();
        Await.until("the group to be offline", () -> mqadmin.attempt("consumerConnection", "-g", group).failed());
        MqAdmin.Output offline = mqadmin.attempt("consumerConnection", "-g", group);
        assertTrue(offline.err.contains("CODE: 206"), offline.err);
    }

    @Test
    void producerConnectionShowsClients() throws Exception {
        String topic = newTopic("AdminProducer", 1);
        DefaultMQProducer producer = newProducer();
        producer.setHeartbeatBrokerInterval(1_000);
        producer.start();
        assertSent(producer.send(message(topic, "m")));
        String clientId = producer.getDefaultMQProducerImpl().getMqClientFactory().getClientId();
        Await.until("the heartbeat", () ->
            mqadmin.attempt("producerConnection", "-g", producer.getProducerGroup(), "-t", topic).out.contains(clientId));
        MqAdmin.Output output = mqadmin.run("producerConnection", "-g", producer.getProducerGroup(), "-t", topic);
        assertTrue(output.lines().get(0).matches("0001\\s+\\Q" + clientId + "\\E\\s+127\\.0\\.0\\.1:\\d+\\s+JAVA\\s+V5_5_0"), output.out);
    }

    @Test
    void brokerStatusShowsTheRuntimeStatistics() throws Exception {
        String topic = newTopic("AdminBrokerStatus", 1);
        sendMany(startProducer(), topic, "m", 3);
        awaitStatistics();
        // Rates need two samples.
        Await.until("rates", () -> !mqadmin.run("brokerStatus", "-b", pair().brokerAddr()).value("putTps").isEmpty());
        MqAdmin.Output status = mqadmin.run("brokerStatus", "-b", pair().brokerAddr());
        assertEquals("V5_5_0", status.value("brokerVersionDesc"));
        assertEquals("true", status.value("brokerActive"));
        assertTrue(Long.parseLong(status.value("commitLogMaxOffset")) > 0);
        assertEquals("0", status.value("commitLogMinOffset"));
        assertTrue(Long.parseLong(status.value("bootTimestamp")) > 0);
        assertTrue(Long.parseLong(status.value("putMessageTimesTotal")) >= 3);
        assertTrue(status.value("runtime").matches("\\[ \\d+ days, \\d+ hours, \\d+ minutes, \\d+ seconds ]"), status.value("runtime"));
        assertTrue(Double.parseDouble(status.value("commitLogDiskRatio")) > 0);
        for (String number : List.of("msgPutTotalTodayNow", "msgGetTotalTodayNow", "msgPutTotalTodayMorning",
            "msgPutTotalYesterdayMorning", "msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning", "sendThreadPoolQueueSize",
            "pullThreadPoolQueueSize", "sendThreadPoolQueueCapacity", "sendThreadPoolQueueHeadWaitTimeMills",
            "pullThreadPoolQueueHeadWaitTimeMills", "ackThreadPoolQueueSize", "pageCacheLockTimeMills", "earliestMessageTimeStamp",
            "dispatchBehindBytes", "putMessageEntireTimeMax", "timerReadBehind", "timerOffsetBehind", "timerCongestNum")) {
            assertTrue(status.value(number).matches("-?\\d+"), number + " is " + status.value(number));
        }
        for (String rate : List.of("putTps", "getTotalTps", "getFoundTps", "getMissTps", "getTransferredTps",
            "putMessageAverageSize", "timerEnqueueTps", "timerDequeueTps")) {
            assertTrue(status.value(rate).matches("\\d+\\.\\d+(E-?\\d+)?( +\\d+\\.\\d+(E-?\\d+)?)*"), rate + " is " + status.value(rate));
        }
        mqadmin.run("brokerStatus", "-c", Pair.CLUSTER).assertHas(pair().brokerAddr() + " ").assertHas("brokerVersionDesc");
    }

    @Test
    void theQueryCommandsFindAMessageFourWays() throws Exception {
        String topic = newTopic("AdminQuery", 2);
        DefaultMQProducer producer = startProducer();
        assertSent(producer.send(message(topic, "before"), TO_QUEUE, 1));
        SendResult sent = assertSent(producer.send(message(topic, "TagQ", "query-key", "find me"), TO_QUEUE, 1));
        String group = consumeAll(topic, List.of("before", "find me"));
        Await.until("the index", () -> !mqadmin.attempt("queryMsgByKey", "-t", topic, "-k", "query-key").failed());

        mqadmin.run("queryMsgByKey", "-t", topic, "-k", "query-key").assertRow(sent.getMsgId(), 1, 1);
        assertFound(topic, sent, mqadmin.run("queryMsgById", "-t", topic, "-i", sent.getOffsetMsgId(), "-f", "UTF-8"))
            .assertHas("consumerGroup=" + group + ", trackType=NOT_ONLINE");
        assertFound(topic, sent, mqadmin.run("queryMsgById", "-t", topic, "-i", sent.getMsgId(), "-f", "UTF-8"));
        assertFound(topic, sent, mqadmin.run("queryMsgByUniqueKey", "-t", topic, "-i", sent.getMsgId()));
        assertFound(topic, sent, mqadmin.run("queryMsgByOffset", "-t", topic, "-b", pair().brokerName(), "-i", "1", "-o", "1"));

        assertEquals("", mqadmin.run("queryMsgByOffset", "-t", topic, "-b", pair().brokerName(), "-i", "1", "-o", "99").out);
        MqAdmin.Output unknown = mqadmin.attempt("queryMsgByKey", "-t", topic, "-k", "no-such-key");
        assertTrue(unknown.err.contains("CODE: 208"), unknown.err);
    }

    @Test
    @Tag("mixed")
    void sendMessageSendsAndConsumeMessageReads() throws Exception {
        String topic = newTopic("AdminSend", 2);
        MqAdmin.Output sent = mqadmin.run("sendMessage", "-t", topic, "-p", "from the tool", "-k", "tool-key", "-c", "tool-tag",
            "-b", pair().brokerName(), "-i", "1");
        sent.assertRow(pair().brokerName(), 1, "SEND_OK");
        mqadmin.run("sendMessage", "-t", topic, "-p", "anywhere").assertHas("SEND_OK");
        Await.until("both messages", () ->
            pair().admin.maxOffset(queue(topic, 0)) + pair().admin.maxOffset(queue(topic, 1)) == 2);

        mqadmin.run("consumeMessage", "-t", topic).assertHas("Consume ok").assertHas("from the tool").assertHas("anywhere");
        mqadmin.run("consumeMessage", "-t", topic, "-b", pair().brokerName(), "-i", "1", "-o", "0", "-c", "1")
            .assertHas("BODY: from the tool").assertHas("tool-key");
    }

    @Test
    void resetOffsetByTimeRewindsAGroupThatIsOffline() throws Exception {
        String topic = newTopic("AdminReset", 2);
        List<String> bodies = sendMany(startProducer(), topic, "m", 10);
        String group = consumeAll(topic, bodies);
        mqadmin.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0")
            .assertRow(pair().brokerName(), 0, 0).assertRow(pair().brokerName(), 1, 0);
        consume(group, topic, "*").awaitExactly(bodies);
    }

    @Test
    void resetOffsetByTimeRewindsAGroupThatIsOnline() throws Exception {
        String topic = newTopic("AdminResetOnline", 2);
        List<String> bodies = sendMany(startProducer(), topic, "m", 10);
        String group = unique("CG");
        Received received = consume(group, topic, "*");
        received.awaitAll(bodies);
        mqadmin.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0")
            .assertRow(pair().brokerName(), 0, 0).assertRow(pair().brokerName(), 1, 0);
        Await.until(() -> "each message twice, got " + received.bodies(), Await.LIMIT,
            () -> bodies.stream().allMatch(body -> received.bodies().stream().filter(body::equals).count() >= 2));
    }

    @Test
    void getBrokerConfigShowsFileAndDefaults() {
        MqAdmin.Output config = mqadmin.run("getBrokerConfig", "-b", pair().brokerAddr());
        config.assertHas("============" + pair().brokerAddr() + "============");
        assertEquals(pair().brokerName(), config.value("brokerName"));
        assertEquals(Pair.CLUSTER, config.value("brokerClusterName"));
        assertEquals("" + pair().broker.port, config.value("listenPort"));
        assertEquals(pair().namesrvAddr(), config.value("namesrvAddr"));
        assertEquals("16777216", config.value("mappedFileSizeCommitLog"));
        assertEquals("ASYNC_FLUSH", config.value("flushDiskType"));
        assertEquals("ASYNC_MASTER", config.value("brokerRole"));
        assertEquals("6", config.value("brokerPermission"));
        assertEquals("8", config.value("defaultTopicQueueNums"));
        assertEquals("4194304", config.value("maxMessageSize"));
        assertEquals("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h", config.value("messageDelayLevel"));
        assertTrue(config.lines().size() > 250, config.lines().size() + " lines");
        mqadmin.run("getBrokerConfig", "-c", Pair.CLUSTER).assertHas("============Master: " + pair().brokerAddr() + "============");
    }

    @Test
    @Tag("mixed")
    void updateBrokerConfigChangesTheRunningBrokerAndItsFile() throws Exception {
        String before = brokerConfig("fileReservedTime");
        String after = "" + (Integer.parseInt(before) + 1);
        mqadmin.run("updateBrokerConfig", "-b", pair().brokerAddr(), "-k", "fileReservedTime", "-v", after)
            .assertHas("update broker config success, " + pair().brokerAddr());
        assertEquals(after, brokerConfig("fileReservedTime"));
        String file = Files.readString(pair().broker.home.resolve("mqbroker.conf"));
        assertTrue(file.contains("fileReservedTime=" + after), file);
        assertTrue(file.contains("brokerName=" + pair().brokerName()), file);

        MqAdmin.Output refused = mqadmin.attempt("updateBrokerConfig", "-b", pair().brokerAddr(), "-k", "brokerConfigPath", "-v", "x");
        assertTrue(refused.err.contains("Can not update config in black list."), refused.err);
    }

    @Test
    void getNamesrvConfigShowsFileAndDefaults() {
        MqAdmin.Output config = mqadmin.run("getNamesrvConfig");
        config.assertHas("============" + pair().namesrvAddr() + "============");
        assertEquals("" + pair().namesrv.port, config.value("listenPort"));
        assertEquals(pair().namesrv.home.resolve("kvConfig.json").toString(), config.value("kvConfigPath"));
        assertEquals("false", config.value("orderMessageEnable"));
        assertEquals("5000", config.value("scanNotActiveBrokerInterval"));
        assertEquals("120", config.value("serverChannelMaxIdleTimeSeconds"));
    }

    /** The lines all query commands share; the tool leaves the body in a file. */
    private MqAdmin.Output assertFound(String topic, SendResult sent, MqAdmin.Output output) throws Exception {
        assertEquals(topic, output.value("Topic"));
        assertEquals("[TagQ]", output.value("Tags"));
        assertEquals("[query-key]", output.value("Keys"));
        assertEquals("1", output.value("Queue ID"));
        assertEquals("1", output.value("Queue Offset"));
        assertEquals("0", output.value("Reconsume Times"));
        assertEquals(pair().brokerAddr(), output.value("Store Host"));
        assertTrue(output.value("Properties").contains("UNIQ_KEY=" + sent.getMsgId()), output.out);
        Path bodyFile = Paths.get(output.value("Message Body Path"));
        assertEquals("find me", Files.readString(bodyFile));
        Files.delete(bodyFile);
        return output;
    }

    /** The broker takes its first sample some seconds after its start and answers with an error until then. */
    private void awaitStatistics() {
        Await.until("statistics", () -> !mqadmin.attempt("brokerStatus", "-b", pair().brokerAddr()).failed());
    }

    private String brokerConfig(String key) {
        return mqadmin.run("getBrokerConfig", "-b", pair().brokerAddr()).value(key);
    }

    /** Has a new group consume these messages and leave, its offsets stored; returns the group. */
    private String consumeAll(String topic, List<String> bodies) throws Exception {
        String group = unique("CG");
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        start(consumer).awaitExactly(bodies);
        consumer.shutdown();
        return group;
    }

    private static Received start(DefaultMQPushConsumer consumer) throws Exception {
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        return received;
    }
}
