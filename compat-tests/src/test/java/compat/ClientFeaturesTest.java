package compat;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.impl.CommunicationMode;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.sysflag.PullSysFlag;
import org.apache.rocketmq.common.topic.TopicValidator;
import org.apache.rocketmq.remoting.protocol.RequestSource;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.PullMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.subscription.CustomizedRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.ExponentialRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicyType;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** What clients can do beyond sending and consuming, on a broker that has it switched on. */
class ClientFeaturesTest extends CompatTest {
    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("features", Map.of("traceTopicEnable", "true", "enableLmq", "true", "enableMultiDispatch", "true",
        "enableLmqQuota", "true", "maxLmqConsumeQueueNum", "3"));

    @Override
    Pair pair() {
        return SERVERS.pair();
    }

    @Test
    void aTracedMessageLeavesItsTraceInTheTraceTopic() throws Exception {
        String topic = newTopic("Traced", 1);
        DefaultMQProducer producer = new DefaultMQProducer(unique("PG"), true, null);
        producer.setNamesrvAddr(pair().namesrvAddr());
        producer.start();
        closeLater(producer::shutdown);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(unique("CG"), true, null);
        consumer.setNamesrvAddr(pair().namesrvAddr());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        closeLater(consumer::shutdown);
        SendResult sent = assertSent(producer.send(message(topic, "T", "traced-key", "traced")));
        received.awaitCount(1);
        Await.until("the trace of a send and of its consumption", () -> {
            String trace = traces(sent.getMsgId());
            return List.of("Pub", "SubBefore", "SubAfter").stream().allMatch(trace::contains);
        });
    }

    private String traces(String key) {
        try {
            return pair().admin.queryMessage(TopicValidator.RMQ_SYS_TRACE_TOPIC, key, 32, 0, Long.MAX_VALUE).getMessageList().stream()
                .map(message -> new String(message.getBody(), StandardCharsets.UTF_8)).collect(Collectors.joining("\n"));
        } catch (Exception nothingYet) {
            return "";
        }
    }

    @Test
    @SuppressWarnings("deprecation")
    void namespacesKeepTopicsAndGroupsOfOneNameApart() throws Exception {
        String topic = unique("Shared");
        String group = unique("CG");
        createTopic("one%" + topic, 1, 6);
        createTopic("two%" + topic, 1, 6);
        for (String namespace : List.of("one", "two")) {
            DefaultMQProducer producer = newProducer();
            producer.setNamespace(namespace);
            producer.start();
            assertSent(producer.send(message(topic, "of " + namespace)));
        }
        for (String namespace : List.of("one", "two")) {
            DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
            consumer.setNamesrvAddr(pair().namesrvAddr());
            consumer.setNamespace(namespace);
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.subscribe(topic, "*");
            Received received = new Received();
            consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
            consumer.start();
            closeLater(consumer::shutdown);
            received.awaitExactly(List.of("of " + namespace));
            assertEquals(topic, received.messages().get(0).getTopic());
        }
        assertEquals(Set.of("one%" + group, "two%" + group), namesAtTheBroker(group));
    }

    /** It is for proxies, which make names of it: to a broker it is two more fields of each header. */
    @Test
    void aNamespaceOfTheSecondKindChangesNoName() throws Exception {
        String topic = newTopic("Named", 1);
        String group = unique("CG");
        DefaultMQProducer producer = newProducer();
        producer.setNamespaceV2("space");
        producer.start();
        assertSent(producer.send(message(topic, "named")));
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.setNamespaceV2("space");
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        received.awaitExactly(List.of("named"));
        assertEquals(topic, received.messages().get(0).getTopic());
        assertEquals(Set.of(group), namesAtTheBroker(group));
        consume(unique("CG"), topic, "*").awaitExactly(List.of("named"));
    }

    /** What the broker knows a group by, with namespaces before its name. */
    private Set<String> namesAtTheBroker(String group) throws Exception {
        return pair().admin.getAllSubscriptionGroup(pair().brokerAddr(), 5_000).getSubscriptionGroupTable().keySet().stream()
            .filter(name -> name.endsWith(group)).collect(Collectors.toSet());
    }

    /** The policy is for clients that ask the proxy; the broker's own delays stay as they are. */
    @Test
    void theRetryPolicyOfAGroupIsKeptAndDoesNotChangeTheDelayOfWhatIsSentBack() throws Exception {
        String topic = newTopic("RetryPolicy", 1);
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(unique("CG"));
        GroupRetryPolicy policy = new GroupRetryPolicy();
        policy.setType(GroupRetryPolicyType.CUSTOMIZED);
        policy.setCustomizedRetryPolicy(new CustomizedRetryPolicy(new long[] {TimeUnit.SECONDS.toMillis(1)}));
        config.setGroupRetryPolicy(policy);
        pair().admin.createAndUpdateSubscriptionGroupConfig(pair().brokerAddr(), config);
        GroupRetryPolicy kept = pair().admin.examineSubscriptionGroupConfig(pair().brokerAddr(), config.getGroupName()).getGroupRetryPolicy();
        assertEquals(GroupRetryPolicyType.CUSTOMIZED, kept.getType());
        assertEquals(1_000, kept.getCustomizedRetryPolicy().getNext()[0]);

        DefaultMQPushConsumer consumer = newConsumer(config.getGroupName(), topic, "*");
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            received.accept(messages, context);
            return messages.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        assertSent(startProducer().send(message(topic, "failed once")));
        MessageExt again = received.awaitCount(2).get(1);
        assertEquals("3", again.getProperty(MessageConst.PROPERTY_DELAY_TIME_LEVEL));
    }

    @Test
    void anExponentialRetryPolicyOfAGroupIsKept() throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(unique("CG"));
        GroupRetryPolicy policy = new GroupRetryPolicy();
        policy.setType(GroupRetryPolicyType.EXPONENTIAL);
        policy.setExponentialRetryPolicy(new ExponentialRetryPolicy(500, 20_000, 4));
        config.setGroupRetryPolicy(policy);
        config.setRetryMaxTimes(7);
        config.setConsumeMessageOrderly(true);
        pair().admin.createAndUpdateSubscriptionGroupConfig(pair().brokerAddr(), config);
        SubscriptionGroupConfig kept = pair().admin.examineSubscriptionGroupConfig(pair().brokerAddr(), config.getGroupName());
        assertEquals(config.toString(), kept.toString());
        assertEquals(2_000, kept.getGroupRetryPolicy().getRetryPolicy().nextDelayDuration(1));
    }

    @Test
    void aMessageIsReadFromEachLightQueueItNames() throws Exception {
        String topic = newTopic("Parent", 2);
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < 3; i++) {
            Message message = message(topic, "m" + i);
            MessageAccess.put(message, MessageConst.PROPERTY_INNER_MULTI_DISPATCH, i == 1 ? "%LMQ%a,%LMQ%b" : "%LMQ%a");
            assertSent(producer.send(message, queue(topic, i % 2)));
        }
        DefaultMQPullConsumer puller = new DefaultMQPullConsumer(unique("%LMQ%Puller"));
        puller.setNamesrvAddr(pair().namesrvAddr());
        puller.setRegisterTopics(Set.of(topic));
        puller.start();
        closeLater(puller::shutdown);
        assertEquals(List.of("m0", "m1", "m2"), pullAll(puller, "%LMQ%a", 3));
        assertEquals(List.of("m1"), pullAll(puller, "%LMQ%b", 1));
        puller.updateConsumeOffset(queue("%LMQ%a", 0), 2);
        puller.getOffsetStore().persist(queue("%LMQ%a", 0));
        Await.until("the offset of a light queue", () -> puller.getDefaultMQPullConsumerImpl().fetchConsumeOffset(queue("%LMQ%a", 0), true) == 2);

        // A third queue is allowed, a fourth is one too many.
        Message third = message(topic, "third");
        MessageAccess.put(third, MessageConst.PROPERTY_INNER_MULTI_DISPATCH, "%LMQ%c");
        assertSent(producer.send(third, queue(topic, 0)));
        assertEquals(List.of("third"), pullAll(puller, "%LMQ%c", 1));
        Message fourth = message(topic, "fourth");
        MessageAccess.put(fourth, MessageConst.PROPERTY_INNER_MULTI_DISPATCH, "%LMQ%d");
        MQBrokerException e = assertThrows(MQBrokerException.class, () -> producer.send(fourth, queue(topic, 0)));
        assertEquals(ResponseCode.LMQ_QUOTA_EXCEEDED, e.getResponseCode());
    }

    /** What a proxy does for a broadcasting consumer that spoke to the broker itself until now. */
    @Test
    void aBroadcastingConsumerGoesOnThroughAProxyWhereItWas() throws Exception {
        String topic = newTopic("Broadcast", 1);
        String group = unique("CG");
        sendMany(startProducer(), topic, "m", 3);
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.setMessageModel(MessageModel.BROADCASTING);
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        received.awaitCount(3);
        String clientId = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        // The consumer is at 3 once it asks for what comes after the messages it got.
        Await.until("the offset of the consumer", () -> pullByProxy(consumer, topic, group, clientId, -1).getNextBeginOffset() == 3);
        PullResult first = pullByProxy(consumer, topic, group, unique("another"), -1);
        assertEquals(PullStatus.OFFSET_ILLEGAL, first.getPullStatus());
        assertEquals(0, first.getNextBeginOffset());
        PullResult second = pullByProxy(consumer, topic, group, unique("another"), 1);
        assertEquals(PullStatus.FOUND, second.getPullStatus());
        assertEquals(3, second.getNextBeginOffset());
    }

    private PullResult pullByProxy(DefaultMQPushConsumer consumer, String topic, String group, String clientId, long offset)
        throws Exception {
        PullMessageRequestHeader header = new PullMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(0);
        header.setQueueOffset(offset);
        header.setMaxMsgNums(32);
        header.setSysFlag(PullSysFlag.buildSysFlag(false, false, true, false));
        header.setCommitOffset(0L);
        header.setSuspendTimeoutMillis(0L);
        header.setSubscription("*");
        header.setSubVersion(0L);
        header.setExpressionType(ExpressionType.TAG);
        header.setRequestSource(RequestSource.PROXY_FOR_BROADCAST.getValue());
        header.setProxyFrowardClientId(clientId);
        return consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getMQClientAPIImpl()
            .pullMessage(pair().brokerAddr(), header, 5_000, CommunicationMode.SYNC, null);
    }

    @Test
    void thresholdsOfColdReadsAreSetShownAndTakenBack() throws Exception {
        String group = unique("CG");
        Properties thresholds = new Properties();
        thresholds.setProperty(group, "12345");
        pair().admin.updateColdDataFlowCtrGroupConfig(pair().brokerAddr(), thresholds);
        String shown = pair().admin.getColdDataFlowCtrInfo(pair().brokerAddr());
        assertTrue(shown.contains("\"" + group + "\":12345"), shown);
        for (String key : List.of("runtimeTable", "configTable", "cgColdReadThreshold", "globalColdReadThreshold", "globalAcc")) {
            assertTrue(shown.contains("\"" + key + "\""), shown);
        }
        pair().admin.removeColdDataFlowCtrGroupConfig(pair().brokerAddr(), group);
        assertFalse(pair().admin.getColdDataFlowCtrInfo(pair().brokerAddr()).contains(group));
        for (String mode : List.of("1", "0")) {
            assertEquals("set commitlog readahead mode success, mode: " + mode,
                pair().admin.setCommitLogReadAheadMode(pair().brokerAddr(), mode));
        }
    }

    private List<String> pullAll(DefaultMQPullConsumer puller, String light, int count) {
        PullResult[] result = new PullResult[1];
        Await.until(count + " messages of " + light, () -> {
            result[0] = puller.pull(queue(light, 0), "*", 0, 32);
            return result[0].getPullStatus() == PullStatus.FOUND && result[0].getMsgFoundList().size() == count;
        });
        return result[0].getMsgFoundList().stream().map(CompatTest::body).collect(Collectors.toList());
    }

    /** Sets properties that clients are not meant to set. */
    private static final class MessageAccess extends org.apache.rocketmq.common.message.MessageAccessor {
        static void put(Message message, String name, String value) {
            putProperty(message, name, value);
        }
    }
}
