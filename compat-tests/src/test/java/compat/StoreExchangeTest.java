package compat;

import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * A broker opened on a copy of a store that the Java 5.5.0 broker left behind serves exactly what was in it.
 *
 * <p>Messages that were waiting for their time fire when the store is opened, so the queues they go to, and those of the
 * machinery that moves them, grow: there the listed messages are a prefix.
 */
class StoreExchangeTest extends CompatTest {
    /** Topics something is appended to by the mere passing of time: delay levels, timers, pop, transaction checks. */
    private static final Set<String> GROWING = Set.of("FxDelay", "FxTimer", "FxTx", "FxCrashDelay", "SCHEDULE_TOPIC_XXXX",
        "rmq_sys_wheel_timer", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC",
        "rmq_sys_REVIVE_LOG_FxCluster");

    /**
     * What the Rust broker does not serve yet: FxInnerBatch is a topic of batch queues (queue.type=BatchCQ), which have an
     * index format and a record of their own.
     */
    private static final Set<String> NOT_YET_IN_RUST = Set.of("FxInnerBatch");

    private Pair pair;
    private StoreReader reader;

    @Override
    Pair pair() {
        return pair;
    }

    @AfterEach
    void disposeOfServers() {
        shutDownClients();
        if (pair != null) {
            pair.dispose();
        }
    }

    @Test
    void aCleanlyStoppedJavaStoreIsServedAsItWas() throws Exception {
        Fixture fixture = Fixture.cleanlyStopped();
        open("fixture", fixture);
        checkTopicConfigs(fixture.contents.getJSONObject("topics"));
        fixture.contents.getJSONObject("topics").forEach((topic, listed) -> {
            if (isServed(topic)) {
                checkQueues(topic, ((JSONObject) listed).getJSONObject("queues"));
            }
        });
        checkLargeBodies();
        checkSends(fixture.contents.getJSONArray("sends"));
        checkIndexLookups(fixture.contents.getJSONArray("indexLookups"));
        checkOffsetsByTime(fixture.contents.getJSONArray("offsetByTime"));
        checkConsumerOffsets(fixture.contents.getJSONObject("consumeStats"));
        checkIsWritable("FxPlain");
    }

    @Test
    void everyAcknowledgedMessageOfACrashedJavaStoreIsReadable() throws Exception {
        Fixture fixture = Fixture.crashed();
        open("crashed-fixture", fixture);
        for (Object entry : fixture.contents.getJSONArray("acked")) {
            JSONArray row = (JSONArray) entry;
            MessageExt message = reader.view(row.getString(0), row.getString(4));
            assertEquals(row.getString(3), message.getMsgId());
            assertEquals(row.getString(7), body(message));
            assertEquals(row.getString(5), message.getTags());
            assertEquals(row.getString(6), message.getKeys());
        }
        JSONObject recovered = fixture.contents.getJSONObject("recovered");
        recovered.getJSONObject("topics").forEach((topic, queues) -> checkRecoveredQueues(topic, (JSONObject) queues));
        checkOffsetsByTime(recovered.getJSONArray("offsetByTime"));
        checkKeysOfCrashed(fixture.contents.getJSONArray("acked"));
        checkIsWritable("FxCrash");
    }

    private void open(String name, Fixture fixture) throws Exception {
        Server namesrv = Server.namesrv(Kind.namesrv(), name + "-namesrv").start();
        Path home = Server.freshHome(name);
        fixture.unpackInto(home);
        Server broker = Server.brokerOn(home, Kind.broker(), name + "-broker", namesrv.address(), fixture.openWith()).start();
        pair = Pair.of(namesrv, broker);
        reader = new StoreReader(pair, startPuller());
        // A pull of a system topic finds the broker only if some route has named it before.
        pair.awaitRoute("TBW102");
        reader.pull(queue(fixture.contents.containsKey("topics") ? "FxPlain" : "FxCrash", 0), 0, 1);
    }

    private static boolean isServed(String topic) {
        return Kind.broker() == Kind.JAVA || !NOT_YET_IN_RUST.contains(topic);
    }

    private void checkTopicConfigs(JSONObject topics) throws Exception {
        Map<String, TopicConfig> actual = new HashMap<>();
        // A Java broker serves while it still makes some of its own.
        Await.until("all topics of the fixture", () -> {
            actual.putAll(pair.admin.getAllTopicConfig(pair.brokerAddr(), 15_000).getTopicConfigTable());
            return actual.keySet().containsAll(topics.keySet());
        });
        topics.forEach((topic, value) -> {
            JSONObject listed = (JSONObject) value;
            TopicConfig config = actual.get(topic);
            assertEquals(listed.getIntValue("readQueueNums"), config.getReadQueueNums(), topic);
            assertEquals(listed.getIntValue("writeQueueNums"), config.getWriteQueueNums(), topic);
            assertEquals(listed.getIntValue("perm"), config.getPerm(), topic);
            assertEquals(listed.getIntValue("topicSysFlag"), config.getTopicSysFlag(), topic);
            assertEquals(listed.getJSONObject("attributes"), new HashMap<String, Object>(config.getAttributes()), topic);
        });
    }

    private void checkQueues(String topic, JSONObject queues) {
        queues.forEach((id, value) -> {
            JSONObject listed = (JSONObject) value;
            MessageQueue queue = queue(topic, Integer.parseInt(id));
            List<Map<String, Object>> expected = new ArrayList<>();
            for (Object message : listed.getJSONArray("messages")) {
                expected.add(listedMessage((JSONObject) message));
            }
            assertEquals(expected, checkEnds(queue, listed).stream().map(StoreReader::describe).collect(Collectors.toList()),
                queue.toString());
        });
    }

    private void checkRecoveredQueues(String topic, JSONObject queues) {
        queues.forEach((id, value) -> {
            JSONObject listed = (JSONObject) value;
            MessageQueue queue = queue(topic, Integer.parseInt(id));
            List<List<Object>> actual = new ArrayList<>();
            for (MessageExt m : checkEnds(queue, listed)) {
                actual.add(Arrays.asList(m.getQueueOffset(), m.getCommitLogOffset(), m.getMsgId(), m.getTags(), m.getKeys(), body(m)));
            }
            List<List<Object>> expected = new ArrayList<>();
            for (Object entry : listed.getJSONArray("messages")) {
                JSONArray row = (JSONArray) entry;
                expected.add(Arrays.asList(row.getLong(0), row.getLong(1), row.get(2), row.get(3), row.get(4), row.get(5)));
            }
            assertEquals(expected, actual, queue.toString());
        });
    }

    /** Compares the ends of a queue; returns the messages it has where the fixture lists some. */
    private List<MessageExt> checkEnds(MessageQueue queue, JSONObject listed) {
        try {
            long maxOffset = listed.getLongValue("maxOffset");
            assertEquals(listed.getLongValue("minOffset"), pair.admin.minOffset(queue), queue + " begins");
            long actualMax = pair.admin.maxOffset(queue);
            if (mayGrow(queue.getTopic())) {
                assertTrue(actualMax >= maxOffset, queue + " ends at " + actualMax + ", not even at " + maxOffset);
            } else {
                assertEquals(maxOffset, actualMax, queue + " ends");
            }
            return reader.pull(queue, listed.getLongValue("minOffset"), maxOffset);
        } catch (Exception e) {
            throw new AssertionError("read " + queue, e);
        }
    }

    private static boolean mayGrow(String topic) {
        return GROWING.contains(topic) || topic.startsWith("%RETRY%");
    }

    private static Map<String, Object> listedMessage(JSONObject listed) {
        Map<String, Object> message = new TreeMap<>(listed);
        message.remove("offsetMsgId");
        for (String key : List.of("queueOffset", "commitLogOffset", "bodyCRC", "bornTimestamp", "storeTimestamp",
            "preparedTransactionOffset")) {
            message.put(key, listed.getLong(key));
        }
        message.put("properties", StoreReader.lasting(listed.getJSONObject("properties")));
        return message;
    }

    /** The JSON gives the length of large bodies only; the driver that wrote them names their content. */
    private void checkLargeBodies() throws Exception {
        List<MessageExt> messages = reader.pull(queue("FxBig", 0), 0, 4);
        byte[] letters = new byte[8192];
        Arrays.fill(letters, (byte) 'z');
        assertArrayEquals(letters, messages.get(0).getBody());
        for (int seed = 0; seed < 3; seed++) {
            byte[] random = new byte[40_000];
            new Random(seed).nextBytes(random);
            assertArrayEquals(random, messages.get(seed + 1).getBody());
        }
    }

    /** Each message the producers were told was stored is at the physical offset they were told. */
    private void checkSends(JSONArray sends) throws Exception {
        for (Object entry : sends) {
            JSONObject send = (JSONObject) entry;
            // Batches list no body, transactions no offset id.
            if (!send.containsKey("body") || !send.containsKey("offsetMsgId") || !isServed(send.getString("topic"))) {
                continue;
            }
            MessageExt message = reader.view(send.getString("topic"), send.getString("offsetMsgId"));
            assertEquals(send.getString("body"), body(message), send.toString());
            assertEquals(send.getString("keys"), message.getKeys(), send.toString());
            assertEquals(send.getString("msgId"), message.getMsgId(), send.toString());
        }
    }

    private void checkIndexLookups(JSONArray lookups) throws Exception {
        for (Object entry : lookups) {
            JSONObject lookup = (JSONObject) entry;
            List<List<Object>> expected = new ArrayList<>();
            for (Object found : lookup.getJSONArray("found")) {
                JSONObject row = (JSONObject) found;
                expected.add(List.of(row.getLong("commitLogOffset"), row.getIntValue("queueId"), row.getLong("queueOffset"),
                    row.getString("body")));
            }
            assertEquals(expected, lookUp(lookup.getString("topic"), lookup.getString("key")), lookup.toString());
        }
    }

    private List<List<Object>> lookUp(String topic, String key) throws Exception {
        try {
            return pair.admin.queryMessage(topic, key, 64, 0, Long.MAX_VALUE).getMessageList().stream()
                .sorted((a, b) -> Long.compare(a.getCommitLogOffset(), b.getCommitLogOffset()))
                .map(m -> List.<Object>of(m.getCommitLogOffset(), m.getQueueId(), m.getQueueOffset(), body(m)))
                .collect(Collectors.toList());
        } catch (MQClientException e) {
            assertEquals(208, e.getResponseCode(), e.getMessage());
            return List.of();
        }
    }

    private void checkOffsetsByTime(JSONArray rows) throws Exception {
        for (Object entry : rows) {
            JSONObject row = (JSONObject) entry;
            if (!isServed(row.getString("topic"))) {
                continue;
            }
            MessageQueue queue = queue(row.getString("topic"), row.getIntValue("queueId"));
            long timestamp = row.getLongValue("timestamp");
            assertEquals(row.getLongValue("lower"), pair.admin.searchLowerBoundaryOffset(queue, timestamp), row.toString());
            assertEquals(row.getLongValue("upper"), pair.admin.searchUpperBoundaryOffset(queue, timestamp), row.toString());
        }
    }

    private void checkConsumerOffsets(JSONObject groups) throws Exception {
        for (String group : groups.keySet()) {
            Map<MessageQueue, OffsetWrapper> actual = pair.admin.examineConsumeStats(group).getOffsetTable();
            JSONObject queues = groups.getJSONObject(group);
            assertEquals(queues.size(), actual.size(), group + ": " + actual.keySet());
            for (String name : queues.keySet()) {
                String[] topicAndId = name.split("@");
                OffsetWrapper offsets = actual.get(queue(topicAndId[0], Integer.parseInt(topicAndId[1])));
                JSONObject listed = queues.getJSONObject(name);
                assertEquals(listed.getLongValue("consumerOffset"), offsets.getConsumerOffset(), group + " " + name);
                assertTrue(offsets.getBrokerOffset() >= listed.getLongValue("brokerOffset"), group + " " + name);
            }
        }
    }

    /** The index of a crashed store was behind its log: the last keys are found only if the entries were built again. */
    private void checkKeysOfCrashed(JSONArray acked) throws Exception {
        List<JSONArray> keyed = acked.stream().map(JSONArray.class::cast).filter(row -> row.getString(6) != null)
            .collect(Collectors.toList());
        for (int i = keyed.size() - 1; i >= 0; i -= 50) {
            JSONArray row = keyed.get(i);
            List<String> bodies = lookUp(row.getString(0), row.getString(6)).stream().map(found -> (String) found.get(3))
                .distinct().collect(Collectors.toList());
            assertEquals(List.of(row.getString(7)), bodies, row.toString());
        }
    }

    private void checkIsWritable(String topic) throws Exception {
        long end = pair.admin.maxOffset(queue(topic, 0));
        assertEquals(end, assertSent(startProducer().send(message(topic, "appended"), TO_QUEUE, 0)).getQueueOffset());
        Await.until("the appended message", () -> pair.admin.maxOffset(queue(topic, 0)) == end + 1);
        assertEquals("appended", body(reader.pull(queue(topic, 0), end, end + 1).get(0)));
    }
}
