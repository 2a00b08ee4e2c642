package compat;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.NotificationRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PeekMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PollingInfoRequestHeader;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** What pops leave in the timer topic, which another broker must be able to go on with; and the answers about shares. */
class PopRecordsTest extends CompatTest {
    private static final String TIMER_TOPIC = "rmq_sys_wheel_timer";

    @Test
    void checkpointsAndAcksHaveTheReferencesForm() throws Exception {
        String topic = newTopic("PopRecords", 1);
        String group = unique("PopCG");
        sendMany(startProducer(), topic, "m", 3);
        PopClient client = new PopClient(pair(), startPuller(), group, topic);
        List<MessageExt> popped = PopTest.popAll(client, 600_000, 3);
        assertTrue(client.ack(popped.get(1)));
        String newHandle = client.changeInvisible(popped.get(2), 500_000);

        List<MessageExt> records = recordsOf(topic, 4);
        String[] handle = ExtraInfoUtil.split(PopClient.handle(popped.get(0)));
        long popTime = ExtraInfoUtil.getPopTime(handle);
        long changeTime = ExtraInfoUtil.getPopTime(ExtraInfoUtil.split(newHandle));
        String broker = pair().brokerName();
        assertRecord(records.get(0), "ck", topic + "@0@0@" + group + "@" + popTime + "@" + broker + "@ck", popTime + 599_000,
            checkpoint(topic, group, 0, popTime, 600_000, List.of(0, 1, 2)));
        assertRecord(records.get(1), "ack", topic + "@0@1@" + group + "@" + popTime + "@" + broker + "@ack", popTime + 600_000,
            ack(topic, group, 0, 1, popTime));
        assertRecord(records.get(2), "ck", topic + "@0@2@" + group + "@" + changeTime + "@" + broker + "@ck", changeTime + 499_000,
            checkpoint(topic, group, 2, changeTime, 500_000, List.of(0)));
        assertRecord(records.get(3), "ack", topic + "@0@2@" + group + "@" + popTime + "@" + broker + "@ack", popTime + 600_000,
            ack(topic, group, 0, 2, popTime));
        assertTrue(records.stream().allMatch(record -> record.getProperty("REAL_QID").equals("" + ExtraInfoUtil.getReviveQid(handle))));
    }

    @Test
    void anAckOfManyHasTheReferencesForm() throws Exception {
        String topic = newTopic("PopBatchAck", 1);
        String group = unique("PopCG");
        sendMany(startProducer(), topic, "m", 4);
        PopClient client = new PopClient(pair(), startPuller(), group, topic);
        List<MessageExt> popped = PopTest.popAll(client, 600_000, 4);
        assertTrue(client.ackAll(List.of(popped.get(0), popped.get(2), popped.get(3))));
        MessageExt record = recordsOf(topic, 2).get(1);
        long popTime = ExtraInfoUtil.getPopTime(ExtraInfoUtil.split(PopClient.handle(popped.get(0))));
        Map<String, Object> body = ack(topic, group, 0, -1, popTime);
        body.put("aol", List.of(0, 2, 3));
        assertRecord(record, "bAck", topic + "@0@-1@" + group + "@" + popTime + "@" + pair().brokerName() + "@ack", popTime + 600_000, body);
    }

    @Test
    void acksAndCheckpointsAreCounted() throws Exception {
        String topic = newTopic("PopStats", 1);
        String group = unique("PopCG");
        sendMany(startProducer(), topic, "m", 3);
        PopClient client = new PopClient(pair(), startPuller(), group, topic);
        List<MessageExt> popped = PopTest.popAll(client, 600_000, 3);
        assertTrue(client.ack(popped.get(0)));
        client.changeInvisible(popped.get(1), 500_000);
        // Samples are taken every ten seconds.
        Await.until("the counts", () -> sum("GROUP_ACK_NUMS", topic + "@" + group) == 2 && sum("GROUP_CK_NUMS", topic + "@" + group) >= 2);
        assertTrue(sum("BROKER_ACK_NUMS", Pair.CLUSTER) >= 2 && sum("BROKER_CK_NUMS", Pair.CLUSTER) >= 2);
    }

    private long sum(String statistic, String key) throws Exception {
        return pair().admin.viewBrokerStatsData(pair().brokerAddr(), statistic, key).getStatsMinute().getSum();
    }

    @Test
    void aPeekAndANotificationTakeNothing() throws Exception {
        String topic = newTopic("PopPeek", 1);
        String group = unique("PopCG");
        sendMany(startProducer(), topic, "m", 3);
        PopClient client = new PopClient(pair(), startPuller(), group, topic);
        Await.until("messages to peek at", () -> peek(topic, group).getBody() != null);
        for (int i = 0; i < 2; i++) {
            RemotingCommand peeked = peek(topic, group);
            assertEquals(ResponseCode.SUCCESS + " FOUND 3", peeked.getCode() + " " + peeked.getRemark() + " " + peeked.getExtFields().get("restNum"));
            assertEquals(2, MessageDecoder.decodes(ByteBuffer.wrap(peeked.getBody())).size());
            assertEquals("true", notification(topic, group).getExtFields().get("hasMsg"));
        }
        assertEquals(3, PopTest.popAll(client, 600_000, 3).size());
        RemotingCommand nothing = peek(topic, group);
        assertEquals(ResponseCode.PULL_NOT_FOUND + " NO_MESSAGE_IN_QUEUE", nothing.getCode() + " " + nothing.getRemark());
        assertEquals("false", notification(topic, group).getExtFields().get("hasMsg"));
        PollingInfoRequestHeader header = new PollingInfoRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        assertEquals("0", ask(RequestCode.POLLING_INFO, header).getExtFields().get("pollingNum"));
    }

    private RemotingCommand peek(String topic, String group) throws Exception {
        PeekMessageRequestHeader header = new PeekMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        header.setMaxMsgNums(2);
        return ask(RequestCode.PEEK_MESSAGE, header);
    }

    private RemotingCommand notification(String topic, String group) throws Exception {
        NotificationRequestHeader header = new NotificationRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        header.setPollTime(0);
        header.setBornTime(System.currentTimeMillis());
        return ask(RequestCode.NOTIFICATION, header);
    }

    private RemotingCommand ask(int code, CommandCustomHeader header) throws Exception {
        return startPuller().getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().getMQClientAPIImpl().getRemotingClient()
            .invokeSync(pair().brokerAddr(), RemotingCommand.createRequestCommand(code, header), 15_000);
    }

    @Test
    void aGroupsModeIsKeptInTheReferencesFile() throws Exception {
        String topic = newTopic("PopMode", 1);
        String group = unique("PopCG");
        pair().admin.setMessageRequestMode(pair().brokerAddr(), topic, group, MessageRequestMode.POP, 3, 5_000);
        Path file = Path.of(pair().broker.config.get("storePathRootDir"), "config", "messageRequestMode.json");
        Map<String, Object> mode = new TreeMap<>(Map.of("topic", topic, "consumerGroup", group, "mode", "POP", "popShareQueueNum", 3));
        Await.until("the mode in " + file, () -> {
            JSONObject map = JSON.parseObject(Files.readString(file)).getJSONObject("messageRequestModeMap");
            return mode.equals(new TreeMap<>(map.getJSONObject(topic).getJSONObject(group)));
        });
    }

    @Test
    void theBrokerSharesQueuesOutAsTheReferenceDoes() throws Exception {
        String topic = newTopic("PopAssign", 4);
        String group = unique("PopCG");
        consume(group, topic, "*");
        Await.until("the only member", () -> pair().admin.examineConsumerConnectionInfo(group).getConnectionSet().size() == 1);
        String clientId = pair().admin.examineConsumerConnectionInfo(group).getConnectionSet().iterator().next().getClientId();
        assertEquals(shares(topic, "PULL", 0, 1, 2, 3), assignment(topic, group, clientId, "AVG"));
        assertEquals(shares(topic, "PULL", 0, 1, 2, 3), assignment(topic, group, clientId, "AVG_BY_CIRCLE"));
        assertEquals(null, assignment(topic, group, clientId, "CONFIG"));
        assertEquals(shares(topic, "PULL"), assignment(topic, group, "stranger", "AVG"));
        pair().admin.setMessageRequestMode(pair().brokerAddr(), topic, group, MessageRequestMode.POP, 0, 5_000);
        assertEquals(shares(topic, "POP", -1), assignment(topic, group, clientId, "AVG"));
    }

    private TreeSet<String> shares(String topic, String mode, Integer... queues) {
        return List.of(queues).stream().map(queue -> mode + " " + topic + " " + pair().brokerName() + " " + queue)
            .collect(Collectors.toCollection(TreeSet::new));
    }

    private TreeSet<String> assignment(String topic, String group, String clientId, String strategy) throws Exception {
        var assignments = startPuller().getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().getMQClientAPIImpl()
            .queryAssignment(pair().brokerAddr(), topic, group, clientId, strategy,
                org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel.CLUSTERING, 5_000);
        return assignments == null ? null : assignments.stream().map(assignment -> {
            MessageQueue queue = assignment.getMessageQueue();
            return assignment.getMode() + " " + queue.getTopic() + " " + queue.getBrokerName() + " " + queue.getQueueId();
        }).collect(Collectors.toCollection(TreeSet::new));
    }

    private static Map<String, Object> checkpoint(String topic, String group, long start, long popTime, long invisible, List<Integer> diffs) {
        Map<String, Object> body = new TreeMap<>();
        body.putAll(Map.of("bm", 0, "c", group, "d", diffs, "it", invisible, "n", diffs.size(), "pt", popTime, "q", 0, "ro", 0, "so", start));
        body.putAll(Map.of("sp", false, "t", topic));
        return body;
    }

    private static Map<String, Object> ack(String topic, String group, long start, long offset, long popTime) {
        return new TreeMap<>(Map.of("ao", offset, "c", group, "pt", popTime, "q", 0, "so", start, "t", topic));
    }

    private void assertRecord(MessageExt record, String tag, String key, long deliver, Map<String, Object> body) {
        assertEquals(tag, record.getTags());
        assertEquals(key, record.getProperty("UNIQ_KEY"));
        assertEquals("" + deliver, record.getProperty("TIMER_DELIVER_MS"));
        assertEquals("" + (deliver - 1) / 1_000 * 1_000, record.getProperty("TIMER_OUT_MS"));
        assertEquals("rmq_sys_REVIVE_LOG_" + Pair.CLUSTER, record.getProperty("REAL_TOPIC"));
        Map<String, Object> expected = new TreeMap<>(body);
        expected.put("bn", pair().brokerName());
        JSONObject actual = JSON.parseObject(body(record));
        // Derived from pt and it, and not read.
        actual.remove("reviveTime");
        assertEquals(JSON.toJSONString(expected), JSON.toJSONString(new TreeMap<>(actual)));
    }

    private List<MessageExt> recordsOf(String topic, int count) {
        List<MessageExt> records = new ArrayList<>();
        Await.until(() -> count + " records, got " + records, Await.LIMIT, () -> {
            MessageQueue queue = queue(TIMER_TOPIC, 0);
            records.clear();
            new StoreReader(pair(), startPuller()).pull(queue, 0, pair().admin.maxOffset(queue)).stream()
                .filter(record -> body(record).contains("\"" + topic + "\"")).forEach(records::add);
            return records.size() >= count;
        });
        return records;
    }
}
