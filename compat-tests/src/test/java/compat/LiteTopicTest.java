package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.lite.OffsetOption;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.body.GetBrokerLiteInfoResponseBody;
import org.apache.rocketmq.remoting.protocol.body.GetLiteClientInfoResponseBody;
import org.apache.rocketmq.remoting.protocol.body.GetLiteGroupInfoResponseBody;
import org.apache.rocketmq.remoting.protocol.body.GetLiteTopicInfoResponseBody;
import org.apache.rocketmq.remoting.protocol.body.GetParentTopicInfoResponseBody;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopLiteMessageRequestHeader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

import static org.apache.rocketmq.common.lite.LiteSubscriptionAction.COMPLETE_ADD;
import static org.apache.rocketmq.common.lite.LiteSubscriptionAction.COMPLETE_REMOVE;
import static org.apache.rocketmq.common.lite.LiteSubscriptionAction.PARTIAL_ADD;
import static org.apache.rocketmq.common.lite.LiteSubscriptionAction.PARTIAL_REMOVE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Light topics: many small queues inside a topic, subscribed to one by one and popped together. */
class LiteTopicTest extends CompatTest {
    private static final long MINUTES = 600_000;
    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("lite", Map.of("enableLmq", "true", "enableMultiDispatch", "true", "maxLiteSubscriptionCount", "8",
        "liteEventCheckInterval", "500"));

    private String topic;
    private String group;

    @Override
    Pair pair() {
        return SERVERS.pair();
    }

    @Test
    void aLightTopicIsConsumedInOrderAndEachByItself() throws Exception {
        LiteClient client = client("one");
        assertEquals(ResponseCode.SUCCESS, client.subscribe(PARTIAL_ADD, "a", "b"));
        DefaultMQProducer producer = startProducer();
        for (String body : List.of("a-0", "a-1", "a-2", "b-0", "c-0")) {
            send(producer, body);
        }
        List<MessageExt> popped = popAll(client, MINUTES, 4);
        assertEquals(List.of("a-0", "a-1", "a-2"), bodiesOf(popped, "a"));
        assertEquals(List.of("b-0"), bodiesOf(popped, "b"));
        assertTrue(popped.stream().allMatch(message -> message.getReconsumeTimes() == 0));
        assertEquals(List.of(0L, 1L, 2L), of(popped, "a").stream().map(MessageExt::getQueueOffset).collect(Collectors.toList()));

        send(producer, "a-3");
        assertEquals(List.of(), client.pop(MINUTES, 32), "the next come when these are acknowledged");
        List<MessageExt> a = of(popped, "a");
        assertTrue(client.ack(a.get(1)) && client.ack(a.get(0)));
        assertEquals(List.of(), client.pop(MINUTES, 32));
        assertTrue(client.ack(a.get(2)));
        assertEquals(List.of("a-3"), bodiesOf(popAll(client, MINUTES, 1), "a"));
        assertTrue(client.ack(a.get(0)), "an ack that is repeated is no error");
        client.subscribe(COMPLETE_REMOVE);
    }

    @Test
    void aParkedPopIsAnsweredByTheNextMessage() throws Exception {
        LiteClient client = client("parked");
        client.subscribe(COMPLETE_ADD, "a");
        PopLiteMessageRequestHeader header = client.header(MINUTES, 1);
        header.setPollTime(15_000);
        CompletableFuture<List<MessageExt>> waiting = client.pop(header);
        Await.pause(300);
        assertFalse(waiting.isDone());
        send(startProducer(), "a-0");
        assertEquals(List.of("a-0"), bodiesOf(waiting.get(10, TimeUnit.SECONDS), "a"));
        client.subscribe(COMPLETE_REMOVE);
    }

    @Test
    void whatIsNotAcknowledgedComesBackAndIsCounted() throws Exception {
        LiteClient client = client("again");
        client.subscribe(PARTIAL_ADD, "a");
        send(startProducer(), "a-0");
        long before = System.currentTimeMillis();
        assertEquals(0, popAll(client, 2_000, 1).get(0).getReconsumeTimes());
        MessageExt again = popAll(client, 2_000, 1).get(0);
        assertTrue(System.currentTimeMillis() - before >= 2_000, "not before its time");
        assertEquals(1, again.getReconsumeTimes());

        String handle = client.changeInvisible(again, 500, false);
        assertEquals(999, Integer.parseInt(handle.split(" ")[3]));
        again = popAll(client, MINUTES, 1).get(0);
        assertEquals(2, again.getReconsumeTimes());
        client.changeInvisible(again, 500, true);
        assertEquals(2, popAll(client, MINUTES, 1).get(0).getReconsumeTimes(), "suspended is not counted");
        client.subscribe(COMPLETE_REMOVE);
    }

    @Test
    void aSubscriptionIsAddedToTakenFromAndReplaced() throws Exception {
        LiteClient client = client("set");
        client.subscribe(PARTIAL_ADD, "a", "b");
        assertEquals(List.of("a", "b"), subscribed(client));
        client.subscribe(PARTIAL_REMOVE, "a", "x");
        assertEquals(List.of("b"), subscribed(client));
        client.subscribe(COMPLETE_ADD, "c", "b");
        assertEquals(List.of("b", "c"), subscribed(client));
        client.subscribe(COMPLETE_ADD);
        assertEquals(List.of(), subscribed(client));
        client.subscribe(COMPLETE_REMOVE);
        assertNull(subscribed(client));
    }

    @Test
    void aGroupBeginsWhereItsSubscriberSays() throws Exception {
        DefaultMQProducer producer = startProducer();
        LiteClient client = client("from");
        for (int i = 0; i < 4; i++) {
            send(producer, "end-" + i);
            send(producer, "two-" + i);
            send(producer, "begin-" + i);
        }
        client.subscribe(PARTIAL_ADD, new OffsetOption(OffsetOption.Type.POLICY, OffsetOption.POLICY_MAX_VALUE), "end");
        client.subscribe(PARTIAL_ADD, new OffsetOption(OffsetOption.Type.OFFSET, 2), "two");
        client.subscribe(PARTIAL_ADD, new OffsetOption(OffsetOption.Type.POLICY, OffsetOption.POLICY_MIN_VALUE), "begin");
        List<MessageExt> popped = popAll(client, MINUTES, 6);
        assertEquals(List.of(), bodiesOf(popped, "end"));
        assertEquals(List.of("two-2", "two-3"), bodiesOf(popped, "two"));
        assertEquals(List.of("begin-0", "begin-1", "begin-2", "begin-3"), bodiesOf(popped, "begin"));
        client.subscribe(COMPLETE_REMOVE);
    }

    @Test
    void inAnExclusiveGroupTheLastSubscriberHasTheLightTopic() throws Exception {
        LiteClient first = client("first", "lite.sub.model", "Exclusive");
        LiteClient second = new LiteClient(pair(), startPuller(), "second", group, topic);
        first.subscribe(PARTIAL_ADD, "a", "b");
        second.subscribe(PARTIAL_ADD, "a");
        assertEquals(List.of("b"), subscribed(first));
        DefaultMQProducer producer = startProducer();
        send(producer, "a-0");
        send(producer, "b-0");
        assertEquals(List.of("a-0"), bodiesOf(popAll(second, MINUTES, 1), "a"));
        assertEquals(List.of("b-0"), bodiesOf(popAll(first, MINUTES, 1), "b"));
        first.subscribe(COMPLETE_REMOVE);
        second.subscribe(COMPLETE_REMOVE);
    }

    @Test
    void aGroupMayHaveEveryLightTopicOfTheParent() throws Exception {
        LiteClient client = client("all", "lite.sub.wildcard", "true");
        assertEquals(ResponseCode.ILLEGAL_OPERATION, client.subscribe(PARTIAL_ADD, "a"));
        DefaultMQProducer producer = startProducer();
        send(producer, "before-0");
        assertEquals(ResponseCode.SUCCESS, client.subscribe(COMPLETE_ADD));
        send(producer, "a-0");
        send(producer, "b-0");
        List<MessageExt> popped = popAll(client, MINUTES, 3);
        assertEquals(List.of("a-0"), bodiesOf(popped, "a"));
        assertEquals(List.of("b-0"), bodiesOf(popped, "b"));
        assertEquals(List.of("before-0"), bodiesOf(popped, "before"));
        client.subscribe(COMPLETE_REMOVE);
    }

    @Test
    void figuresAreThoseOfTheReference() throws Exception {
        LiteClient client = client("figures");
        DefaultMQProducer producer = startProducer();
        client.subscribe(PARTIAL_ADD, "a", "empty");
        for (String body : List.of("a-0", "a-1", "b-0", "a-2")) {
            send(producer, body);
        }
        List<MessageExt> popped = popAll(client, MINUTES, 3);
        client.ack(popped.get(0));
        String addr = pair().brokerAddr();
        GetParentTopicInfoResponseBody parent = pair().admin.getParentTopicInfo(addr, topic);
        assertEquals("2 -1 [" + group + "]", parent.getLiteTopicCount() + " " + parent.getTtl() + " " + parent.getGroups());
        GetLiteTopicInfoResponseBody lite = pair().admin.getLiteTopicInfo(addr, topic, "a");
        assertEquals("0 3 true", lite.getTopicOffset().getMinOffset() + " " + lite.getTopicOffset().getMaxOffset() + " " + lite.isShardingToBroker());
        assertEquals(List.of("figures " + group),
            lite.getSubscriber().stream().map(who -> who.clientId + " " + who.group).collect(Collectors.toList()));
        GetLiteTopicInfoResponseBody none = pair().admin.getLiteTopicInfo(addr, topic, "none");
        assertEquals("0 0 0", none.getTopicOffset().getMinOffset() + " " + none.getTopicOffset().getMaxOffset() + " "
            + none.getTopicOffset().getLastUpdateTimestamp());
        GetLiteClientInfoResponseBody who = pair().admin.getLiteClientInfo(addr, topic, group, "figures");
        assertEquals(2, who.getLiteTopicCount());
        assertTrue(who.getLastAccessTime() > 0);
        assertEquals(-1, pair().admin.getLiteClientInfo(addr, topic, group, "stranger").getLiteTopicCount());
        GetLiteGroupInfoResponseBody all = pair().admin.getLiteGroupInfo(addr, group, "", 5);
        assertEquals("2 -1 a", all.getTotalLagCount() + " " + all.getEarliestUnconsumedTimestamp() + " "
            + all.getLagCountTopK().stream().map(lag -> lag.getLiteTopic()).collect(Collectors.joining()));
        GetLiteGroupInfoResponseBody one = pair().admin.getLiteGroupInfo(addr, group, "a", 5);
        assertEquals("2 3 1", one.getTotalLagCount() + " " + one.getLiteTopicOffsetWrapper().getBrokerOffset() + " "
            + one.getLiteTopicOffsetWrapper().getConsumerOffset());
        assertEquals(-1, pair().admin.getLiteGroupInfo(addr, group, "none", 5).getTotalLagCount());
        GetBrokerLiteInfoResponseBody broker = pair().admin.getBrokerLiteInfo(addr);
        assertEquals(-1, broker.getTopicMeta().get(topic));
        assertTrue(broker.getGroupMeta().get(topic).contains(group));
        assertTrue(broker.getLiteSubscriptionCount() >= 2 && broker.getOrderInfoCount() >= 1 && broker.getCurrentLmqNum() >= 2);
        pair().admin.triggerLiteDispatch(addr, group, "figures");
        client.subscribe(COMPLETE_REMOVE);
    }

    @Test
    void whatCannotBeIsRefused() throws Exception {
        LiteClient client = client("refused");
        String plain = newTopic("Plain", 1);
        assertEquals(ResponseCode.ILLEGAL_OPERATION, client.control(null));
        assertEquals(ResponseCode.ILLEGAL_OPERATION, client.control("{}".getBytes()));
        assertEquals(ResponseCode.SUCCESS, client.subscribe(PARTIAL_ADD, "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8"));
        assertEquals(ResponseCode.LITE_SUBSCRIPTION_QUOTA_EXCEEDED, client.subscribe(PARTIAL_ADD, "q9"));
        client.subscribe(COMPLETE_REMOVE);

        assertEquals(ResponseCode.INVALID_PARAMETER, codeOf(client, h -> h.setMaxMsgNum(33)));
        assertEquals(ResponseCode.TOPIC_NOT_EXIST, codeOf(client, h -> h.setTopic("NoSuchTopic")));
        assertEquals(ResponseCode.INVALID_PARAMETER, codeOf(client, h -> h.setTopic(plain)));
        assertEquals(ResponseCode.INVALID_PARAMETER, codeOf(client, h -> h.setConsumerGroup("SELF_TEST_C_GROUP")));

        client.subscribe(PARTIAL_ADD, "a");
        send(startProducer(), "a-0");
        MessageExt message = popAll(client, MINUTES, 1).get(0);
        assertEquals(ResponseCode.INVALID_PARAMETER, ackCode(client, message, h -> h.setConsumerGroup("SELF_TEST_C_GROUP")));
        assertEquals(ResponseCode.NO_MESSAGE, ackCode(client, message, h -> h.setOffset(9L)));
        assertEquals(ResponseCode.MESSAGE_ILLEGAL, ackCode(client, message, h -> h.setOffset(1L)));
        assertEquals(ResponseCode.MESSAGE_ILLEGAL, ackCode(client, message, h -> h.setQueueId(99)));
        assertEquals(ResponseCode.SUCCESS, ackCode(client, message, h -> { }));
        client.subscribe(COMPLETE_REMOVE);
    }

    private interface Change<H> {
        void on(H header);
    }

    private static int codeOf(LiteClient client, Change<PopLiteMessageRequestHeader> change) throws Exception {
        PopLiteMessageRequestHeader header = client.header(MINUTES, 1);
        change.on(header);
        CompletableFuture<List<MessageExt>> answer = client.pop(header);
        ExecutionException refused = assertThrows(ExecutionException.class, () -> answer.get(10, TimeUnit.SECONDS));
        return ((MQBrokerException) refused.getCause()).getResponseCode();
    }

    private static int ackCode(LiteClient client, MessageExt message, Change<AckMessageRequestHeader> change) throws Exception {
        AckMessageRequestHeader header = client.ackHeader(message);
        change.on(header);
        return client.ackCode(header);
    }

    /** A parent topic and a group bound to it, of this test alone, and the first client. */
    private LiteClient client(String clientId, String... attributes) throws Exception {
        topic = unique("Lite");
        group = unique("LiteCG");
        LiteClient client = new LiteClient(pair(), startPuller(), clientId, group, topic);
        client.createTopicAndGroup(attributes);
        return client;
    }

    private void send(DefaultMQProducer producer, String body) throws Exception {
        LiteClient.send(pair(), producer, topic, body);
    }

    private static List<MessageExt> popAll(LiteClient client, long invisibleMillis, int count) {
        List<MessageExt> popped = new ArrayList<>();
        Await.until(() -> count + " messages of light topics, got " + popped, Await.LIMIT, () -> {
            popped.addAll(client.pop(invisibleMillis, 32));
            return popped.size() >= count;
        });
        assertEquals(count, popped.size());
        return popped;
    }

    private static List<MessageExt> of(List<MessageExt> messages, String liteTopic) {
        return messages.stream().filter(message -> liteTopic.equals(message.getProperty("__LITE_TOPIC"))).collect(Collectors.toList());
    }

    private static List<String> bodiesOf(List<MessageExt> messages, String liteTopic) {
        return of(messages, liteTopic).stream().map(CompatTest::body).collect(Collectors.toList());
    }

    /** The light topics of a client, sorted; null when the broker does not know it. */
    private List<String> subscribed(LiteClient client) throws Exception {
        GetLiteClientInfoResponseBody info = pair().admin.getLiteClientInfo(pair().brokerAddr(), topic, group, client.clientId);
        return info.getLiteTopicSet() == null ? null : info.getLiteTopicSet().stream()
            .map(lmq -> lmq.substring(("%LMQ%$" + topic + "$").length())).sorted().collect(Collectors.toList());
    }
}
