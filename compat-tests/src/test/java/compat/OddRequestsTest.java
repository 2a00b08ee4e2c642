package compat;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What is out of the ordinary is answered, and stored, as the reference does: see {@link Conversation}. */
class OddRequestsTest extends CompatTest {
    private static final long HOUR = 3_600_000;
    private static final long NO_ANSWER = 1_500;
    private static final String LAST = "Last";
    /** All but the last three digits. */
    private static final String UNIQ_KEY = "7F000001000100000000000000000";

    private static final AtomicInteger SENT = new AtomicInteger();

    // No check, no discarded half message and no transaction's op record comes between.
    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("odd", Map.of("recallMessageEnable", "true", "enablePropertyFilter", "true",
        "transactionCheckInterval", "600000", "transactionTimeOut", "1000"));

    private DefaultMQPullConsumer puller;
    private Conversation talk;
    private final Set<String> bodies = new HashSet<>();

    @Override
    Pair pair() {
        return SERVERS.pair();
    }

    private void begin(String name) throws Exception {
        createTopic(LAST, 1, 6);
        puller = startPuller();
        talk = new Conversation(name, pair(), puller);
    }

    /** A send to queue 0 of a topic, by the names of SEND_MESSAGE. */
    private static Map<String, Object> send(String topic) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("producerGroup", "OddPG");
        fields.put("topic", topic);
        fields.put("defaultTopic", "TBW102");
        fields.put("defaultTopicQueueNums", 4);
        fields.put("queueId", 0);
        fields.put("sysFlag", 0);
        fields.put("bornTimestamp", System.currentTimeMillis());
        fields.put("flag", 0);
        fields.put("properties", "");
        fields.put("reconsumeTimes", 0);
        fields.put("unitMode", false);
        fields.put("batch", false);
        return fields;
    }

    private static Map<String, Object> with(Map<String, Object> fields, Object... pairs) {
        for (int i = 0; i < pairs.length; i += 2) {
            if (pairs[i + 1] == null) {
                fields.remove((String) pairs[i]);
            } else {
                fields.put((String) pairs[i], pairs[i + 1]);
            }
        }
        return fields;
    }

    private static Map<String, Object> fields(Object... pairs) {
        return with(new LinkedHashMap<>(), pairs);
    }

    private static String properties(Object... pairs) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < pairs.length; i += 2) {
            text.append(pairs[i]).append(MessageDecoder.NAME_VALUE_SEPARATOR).append(pairs[i + 1]).append(MessageDecoder.PROPERTY_SEPARATOR);
        }
        return text.toString();
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** The name of a section is the body of its message, so that it is found again in what is stored. */
    private RemotingCommand sends(String section, Map<String, Object> fields) throws Exception {
        return sends(section, fields, bytes(section));
    }

    private RemotingCommand sends(String section, Map<String, Object> fields, byte[] body) throws Exception {
        if (!fields.get("properties").toString().contains("UNIQ_KEY")) {
            fields.put("properties", properties("UNIQ_KEY", UNIQ_KEY + String.format("%03d", SENT.incrementAndGet())) + fields.get("properties"));
        }
        bodies.add(section);
        return talk.ask(section, RequestCode.SEND_MESSAGE, fields, body);
    }

    /** Notes what this test has put into a queue, once the broker's queues hold all of it: they are filled in the order of the log. */
    private List<MessageExt> stored(String section, String topic, int queue) throws Exception {
        SendResult last = assertSent(startProducer().send(message(LAST, "last"), queue(LAST, 0)));
        Await.until("the last message", () -> pair().admin.maxOffset(queue(LAST, 0)) > last.getQueueOffset());
        return talk.stored(section, topic, queue, bodies);
    }

    private static long physicalOffset(RemotingCommand answer) {
        String id = answer.getExtFields().get("msgId");
        return Long.parseLong(id.substring(id.length() - 16), 16);
    }

    private void group(String name, java.util.function.Consumer<SubscriptionGroupConfig> settings) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(name);
        settings.accept(config);
        pair().admin.createAndUpdateSubscriptionGroupConfig(pair().brokerAddr(), config);
    }

    @Test
    void sends() throws Exception {
        begin("sends");
        createTopic("Sends", 4, 6);
        sends("queue that is not there", with(send("Sends"), "queueId", 4));
        sends("queue of no number", with(send("Sends"), "queueId", "x"));
        sends("no queue", with(send("Sends"), "queueId", null));
        sends("invalid name", send("bad topic!"));
        sends("no name", send(""));
        sends("longest name", send("L".repeat(127)));
        sends("name too long", send("L".repeat(128)));
        for (String topic : List.of("RMQ_SYS_TRANS_HALF_TOPIC", "SELF_TEST_TOPIC", "TBW102", "rmq_sys_wheel_timer", "OFFSET_MOVED_EVENT",
            "TRANS_CHECK_MAX_TIME_TOPIC", "RMQ_SYS_TRACE_TOPIC", "rmq_sys_REVIVE_LOG_" + Pair.CLUSTER, Pair.CLUSTER + "_REPLY_TOPIC",
            "rmq_sys_anything", "%DLQ%Nobody", "BenchmarkTest", "DefaultCluster")) {
            sends("to " + topic, send(topic));
        }
        sends("from a default topic that is not there", with(send("Made1"), "defaultTopic", "Nowhere"));
        sends("from a default topic that is not inherited", with(send("Made2"), "defaultTopic", "Sends"));
        sends("with no queue for a new topic", with(send("Made3"), "defaultTopicQueueNums", 0));
        sends("with less than no queue for a new topic", with(send("Made4"), "defaultTopicQueueNums", -3));
        sends("with many queues for a new topic", with(send("Made5"), "defaultTopicQueueNums", 1000));
        sends("of a unit for a new topic", with(send("Made6"), "unitMode", true));
        for (String topic : List.of("Made5", "Made6")) {
            talk.note("the new topic " + topic, pair().admin.examineTopicConfig(pair().brokerAddr(), topic).toString());
        }
        sends("no body", send("Sends"), null);
        sends("level 99", with(send("Sends"), "properties", properties("DELAY", 99)));
        sends("level -1", with(send("Sends"), "properties", properties("DELAY", -1)));
        sends("level 0", with(send("Sends"), "properties", properties("DELAY", 0)));
        sends("level of no number", with(send("Sends"), "properties", properties("DELAY", "soon")));
        sends("level without value", with(send("Sends"), "properties", properties("DELAY", "")));
        sends("level and time", with(send("Sends"), "properties", properties("DELAY", 10, "TIMER_DELAY_MS", HOUR)));
        sends("level of what was committed", with(send("Sends"), "properties", properties("DELAY", 10), "sysFlag", 8));
        sends("priority", with(send("Sends"), "properties", properties("_SYS_MSG_PRIORITY_", 2)));
        sends("priority beyond the queues", with(send("Sends"), "properties", properties("_SYS_MSG_PRIORITY_", 100)));
        sends("priority below zero", with(send("Sends"), "properties", properties("_SYS_MSG_PRIORITY_", -2)));
        sends("priority of no number", with(send("Sends"), "properties", properties("_SYS_MSG_PRIORITY_", "high")));
        sends("priority with an order", with(send("Sends"), "properties", properties("_SYS_MSG_PRIORITY_", 2, "__SHARDINGKEY", "k")));
        sends("count of an inner batch", with(send("Sends"), "properties", properties("INNER_NUM", 2)));
        sends("light topic in an ordinary one", with(send("Sends"), "properties", properties("__LITE_TOPIC", "light")));
        sends("light topic without name", with(send("Sends"), "properties", properties("__LITE_TOPIC", "")));
        sends("queues of its own without the switch", with(send("Sends"), "properties", properties("INNER_MULTI_DISPATCH", "%LMQ%a,%LMQ%b")));
        sends("handle of a pop", with(send("Sends"), "properties", properties("a", 1, "POP_CK", "0 1 2", "b", 2)));
        sends("properties of no form", with(send("Sends"), "properties", "\u0002\u0001x\u0002y\u0001\u0002z\u0002a\u0001b\u0001c"));
        sends("properties too long", with(send("Sends"), "properties", properties("a", "x".repeat(32_767))));
        sends("reconsumed", with(send("Sends"), "reconsumeTimes", 3));
        sends("without reconsume times", with(send("Sends"), "reconsumeTimes", null));
        sends("of a namespace", with(send("Sends"), "nsd", true, "ns", "space"));
        sends("of an older version", with(send("Sends"), "batch", null, "unitMode", null));
        for (int queue = 0; queue < 4; queue++) {
            stored("stored in queue " + queue, "Sends", queue);
        }
        stored("stored for level 10", "SCHEDULE_TOPIC_XXXX", 9);
        stored("stored for level 18", "SCHEDULE_TOPIC_XXXX", 17);
        talk.compare();
    }

    @Test
    void batches() throws Exception {
        begin("batches");
        talk.otherwise("a Java broker shows them, though nobody has committed them", "of half messages");
        talk.otherwise("a Java broker leaves such a batch in the timer's topic for ever", "with a delivery time", "with a delivery time that passed");
        createTopic("Batches", 2, 6);
        group("BatchCG", config -> { });
        batch("plain", send("Batches"), "1", "2");
        batch("to a queue of the broker's choice", with(send("Last"), "queueId", -1), "1");
        batch("to a retry topic", send("%RETRY%BatchCG"), "1");
        batch("to a retry topic of nobody", send("%RETRY%BatchNobody"), "1");
        batch("to the dead letters", send("%DLQ%BatchCG"), "1");
        batch("with a level", with(send("Batches"), "properties", properties("DELAY", 10)), "1");
        batch("with a delivery time", with(send("Batches"), "properties", properties("TIMER_DELAY_MS", HOUR)), "1");
        batch("with a delivery time that passed", with(send("Batches"), "properties", properties("TIMER_DELIVER_MS", 1)), "1");
        batch("of half messages", with(send("Batches"), "properties", properties("TRAN_MSG", true)), "1");
        batch("prepared", with(send("Batches"), "sysFlag", 4), "1");
        batch("committed", with(send("Batches"), "sysFlag", 8), "1");
        batch("to no queue", with(send("Batches"), "queueId", 2), "1");
        batch("to a name too long", send("B".repeat(128)), "1");
        talk.ask("empty", RequestCode.SEND_BATCH_MESSAGE, compact(with(send("Batches"), "batch", true)), new byte[0]);
        talk.ask("cut", RequestCode.SEND_BATCH_MESSAGE, compact(with(send("Batches"), "batch", true)),
            Arrays.copyOf(encoded("cut", ""), 30));
        talk.ask("of messages with levels", RequestCode.SEND_BATCH_MESSAGE, compact(with(send("Batches"), "batch", true, "queueId", 1)),
            encoded("levelled", properties("DELAY", 10)));
        talk.ask("of messages with delivery times", RequestCode.SEND_BATCH_MESSAGE, compact(with(send("Batches"), "batch", true, "queueId", 1)),
            encoded("timed", properties("TIMER_DELAY_MS", HOUR)));
        talk.ask("of half messages inside", RequestCode.SEND_BATCH_MESSAGE, compact(with(send("Batches"), "batch", true, "queueId", 1)),
            encoded("half", properties("TRAN_MSG", true, "PGROUP", "OddPG")));
        talk.ask("by the code of one message", RequestCode.SEND_MESSAGE, with(send("Batches"), "batch", true, "queueId", 1), encoded("coded", ""));
        talk.ask("by its code alone", RequestCode.SEND_BATCH_MESSAGE, compact(with(send("Batches"), "queueId", 1)), encoded("not taken apart", ""));
        stored("stored in queue 1", "Batches", 1);
        talk.compare();
    }

    private void batch(String section, Map<String, Object> fields, String... bodies) throws Exception {
        ByteBuffer batch = ByteBuffer.allocate(10_000);
        for (String body : bodies) {
            batch.put(encoded(section + " " + body, ""));
        }
        talk.ask(section, RequestCode.SEND_BATCH_MESSAGE, compact(with(fields, "batch", true)), Arrays.copyOf(batch.array(), batch.position()));
    }

    /** A message of a batch. */
    private byte[] encoded(String body, String properties) {
        bodies.add(body);
        byte[] text = bytes(properties);
        ByteBuffer message = ByteBuffer.allocate(22 + body.length() + text.length);
        message.putInt(message.capacity()).putInt(0).putInt(0).putInt(0).putInt(body.length()).put(bytes(body));
        message.putShort((short) text.length).put(text);
        return message.array();
    }

    /** The short names of SEND_MESSAGE_V2. */
    private static Map<String, Object> compact(Map<String, Object> fields) {
        Map<String, String> names = Map.ofEntries(Map.entry("producerGroup", "a"), Map.entry("topic", "b"), Map.entry("defaultTopic", "c"),
            Map.entry("defaultTopicQueueNums", "d"), Map.entry("queueId", "e"), Map.entry("sysFlag", "f"), Map.entry("bornTimestamp", "g"),
            Map.entry("flag", "h"), Map.entry("properties", "i"), Map.entry("reconsumeTimes", "j"), Map.entry("unitMode", "k"),
            Map.entry("maxReconsumeTimes", "l"), Map.entry("batch", "m"));
        Map<String, Object> compact = new LinkedHashMap<>();
        fields.forEach((name, value) -> compact.put(names.get(name), value));
        return compact;
    }

    @Test
    void retries() throws Exception {
        begin("retries");
        createTopic("Retries", 1, 6);
        group("RetryCG", config -> { });
        group("RetryTwice", config -> config.setRetryMaxTimes(2));
        group("RetryNever", config -> config.setRetryMaxTimes(0));
        group("RetryNowhere", config -> config.setRetryQueueNums(0));
        group("RetryForbidden", config -> { });
        createTopic("%RETRY%RetryForbidden", 1, 4);
        long origin = physicalOffset(sends("origin", with(send("Retries"), "properties", properties("TAGS", "T", "KEYS", "k"))));
        long early = physicalOffset(sends("origin that was due", with(send("Retries"), "properties", properties("TIMER_DELIVER_MS", 5))));
        sendBack("plain", origin, "RetryCG", "delayLevel", 10);
        sendBack("level beyond the last", origin, "RetryCG", "delayLevel", 50);
        sendBack("with a delivery time", early, "RetryCG", "delayLevel", 10);
        sendBack("unwanted", origin, "RetryCG", "delayLevel", -1);
        sendBack("unwanted with a delivery time", early, "RetryCG", "delayLevel", -1);
        sendBack("not to be retried by request", origin, "RetryCG", "maxReconsumeTimes", 0);
        sendBack("not to be retried by its group", origin, "RetryNever");
        sendBack("to be retried although its group says never", origin, "RetryNever", "maxReconsumeTimes", 1, "delayLevel", 10);
        sendBack("no retry queues", origin, "RetryNowhere");
        sendBack("retry topic that is closed", origin, "RetryForbidden");
        sendBack("unknown group", origin, "RetryUnknown", "delayLevel", 10);
        sendBack("impossible group", origin, "bad!group");
        group("RetryOff", config -> config.setConsumeEnable(false));
        sendBack("group that is off", origin, "RetryOff", "delayLevel", 10);
        sendBack("without a level", origin, "RetryCG", "delayLevel", null);
        sendBack("without a group", origin, "RetryCG", "group", null);
        sendBack("offset behind the log", 1L << 40, "RetryCG");
        sendBack("offset before the log", -1, "RetryCG");
        sendBack("offset inside a message", origin + 1, "RetryCG");
        sendBack("of a unit", origin, "RetryUnit", "unitMode", true, "delayLevel", 10);
        talk.note("the retry topic of a unit", pair().admin.examineTopicConfig(pair().brokerAddr(), "%RETRY%RetryUnit").toString());
        talk.note("the dead letters' topic", pair().admin.examineTopicConfig(pair().brokerAddr(), "%DLQ%RetryCG").toString());
        List<MessageExt> dead = stored("dead letters", "%DLQ%RetryCG", 0);
        sendBack("a dead letter", dead.get(0).getCommitLogOffset(), "RetryOther", "delayLevel", 10);

        sends("by the client", with(send("%RETRY%RetryTwice"), "reconsumeTimes", 2, "properties", properties("DELAY", 10)));
        sends("by the client too often", with(send("%RETRY%RetryTwice"), "reconsumeTimes", 3, "properties", properties("DELAY", 10)));
        sends("by the client as often as it may", with(send("%RETRY%RetryTwice"), "reconsumeTimes", 3, "maxReconsumeTimes", 3,
            "properties", properties("DELAY", 10)));
        sends("by the client for an unknown group", with(send("%RETRY%RetryUnheard"), "properties", properties("DELAY", 10)));
        sends("by the client for an impossible group", with(send("%RETRY%bad!group"), "properties", properties("DELAY", 10)));
        sends("by the client with a delivery time", with(send("%RETRY%RetryCG"), "properties", properties("TIMER_DELAY_MS", HOUR)));
        sends("by the client too often with a delivery time", with(send("%RETRY%RetryTwice"), "reconsumeTimes", 3,
            "properties", properties("TIMER_DELAY_MS", HOUR)));
        // A group that consumes in order has no use for retries.
        lock(RequestCode.LOCK_BATCH_MQ, "in order", "one", "RetryOrder");
        group("RetryOrder", config -> { });
        sends("by the client in order", with(send("%RETRY%RetryOrder"), "properties", properties("DELAY", 10)));
        stored("dead letters in order", "%DLQ%RetryOrder", 0);
        stored("retries in wait", "SCHEDULE_TOPIC_XXXX", 9);
        stored("retries in wait at the last level", "SCHEDULE_TOPIC_XXXX", 17);
        stored("timed retries in wait", "rmq_sys_wheel_timer", 0);
        stored("dead letters of the client", "%DLQ%RetryTwice", 0);
        stored("dead letters at once", "%DLQ%RetryNever", 0);
        talk.compare();
    }

    private void lock(int code, String section, String client, String group) throws Exception {
        talk.body("lock " + code + " " + section, code, fields(), bytes("{\"clientId\":\"" + client + "\",\"consumerGroup\":\"" + group
            + "\",\"mqSet\":[{\"topic\":\"Retries\",\"brokerName\":\"" + pair().brokerName() + "\",\"queueId\":0}]}"));
    }

    private void sendBack(String section, long offset, String group, Object... more) throws Exception {
        talk.ask(section, RequestCode.CONSUMER_SEND_MSG_BACK,
            with(fields("offset", offset, "group", group, "delayLevel", 0, "originTopic", "Retries", "unitMode", false), more), null);
    }

    @Test
    void transactions() throws Exception {
        begin("transactions");
        createTopic("Halves", 2, 6);
        long plain = physicalOffset(sends("no half message", send("Halves")));
        sends("prepared without the mark", with(send("Halves"), "sysFlag", 4));
        sends("rollback record", with(send("Halves"), "sysFlag", 12));
        talk.otherwise("a Java broker keeps it and shows it to nobody", "prepared without the mark", "rollback record");
        talk.otherwise("a Java broker delays the half message itself, which nobody can commit then", "to be timed", "delayed", "timed");
        sends("half message without group", with(send("Halves"), "sysFlag", 4, "properties", properties("TRAN_MSG", true)));
        sends("half message sent again by an old client", with(send("Halves"), "reconsumeTimes", 1,
            "properties", properties("TRAN_MSG", true, "DELAY", 10)));
        RemotingCommand one = half("to be committed", "TAGS", "T", "k", "v");
        RemotingCommand two = half("to be rolled back");
        RemotingCommand levelled = half("to be delayed", "DELAY", 10);
        RemotingCommand timed = half("to be timed", "TIMER_DELAY_MS", HOUR);
        RemotingCommand immune = half("to be immune", "CHECK_IMMUNITY_TIME_IN_SECONDS", 3_600);
        RemotingCommand overdue = half("to be asked", "CHECK_IMMUNITY_TIME_IN_SECONDS", 1);
        RemotingCommand oddly = half("immune for no number", "CHECK_IMMUNITY_TIME_IN_SECONDS", "x");
        RemotingCommand patient = half("immune for less than nothing", "CHECK_IMMUNITY_TIME_IN_SECONDS", -1);
        end("unknown", one, 0);
        end("of no state", one, 5);
        end("of another group", one, 8, "producerGroup", "Other");
        end("of another place in the queue", one, 8, "tranStateTableOffset", 99);
        end("of another place in the log", one, 8, "commitLogOffset", 1L << 40);
        end("of a place before the log", one, 8, "commitLogOffset", -5);
        end("of no half message", one, 8, "commitLogOffset", plain);
        end("commit", one, 8);
        end("rollback", two, 12);
        end("commit of one with a level", levelled, 8);
        end("commit of one with a delivery time", timed, 8);
        end("commit of an immune one", immune, 8);
        end("commit of one immune for no number", oddly, 8);
        end("commit of one immune for less than nothing", patient, 8);
        Await.pause(1_200);
        end("commit behind the immunity", overdue, 8);
        end("rollback behind the immunity", overdue, 12);
        end("commit behind the immunity by a check", overdue, 8, "fromTransactionCheck", true);
        stored("visible", "Halves", 0);
        stored("delayed", "SCHEDULE_TOPIC_XXXX", 9);
        stored("timed", "rmq_sys_wheel_timer", 0);
        talk.compare();
    }

    private RemotingCommand half(String section, Object... more) throws Exception {
        return sends(section, with(send("Halves"), "sysFlag", 4, "properties", properties("TRAN_MSG", true, "PGROUP", "OddPG") + properties(more)));
    }

    private void end(String section, RemotingCommand half, int state, Object... more) throws Exception {
        Map<String, Object> request = with(fields("producerGroup", "OddPG", "tranStateTableOffset", half.getExtFields().get("queueOffset"),
            "commitLogOffset", physicalOffset(half), "commitOrRollback", state, "fromTransactionCheck", false,
            "msgId", half.getExtFields().get("transactionId"), "transactionId", half.getExtFields().get("transactionId")), more);
        talk.ask(section, RequestCode.END_TRANSACTION, request, null, state == 8 || state == 12 ? 15_000 : NO_ANSWER);
    }

    @Test
    void timers() throws Exception {
        begin("timers");
        talk.otherwise("ours names the property", "seconds of no number", "milliseconds with a point", "time of no number");
        talk.otherwise("a Java broker's sum overflows, so that it takes the message for due", "seconds without end", "milliseconds without end",
            "at once");
        createTopic("Timed", 1, 6);
        createTopic("TimedClosed", 1, 4);
        long now = System.currentTimeMillis();
        timer("no delay in seconds", "TIMER_DELAY_SEC", 0);
        timer("less than no delay in seconds", "TIMER_DELAY_SEC", -5);
        timer("seconds of no number", "TIMER_DELAY_SEC", "soon");
        timer("seconds without end", "TIMER_DELAY_SEC", Long.MAX_VALUE);
        timer("milliseconds without end", "TIMER_DELAY_MS", Long.MAX_VALUE);
        timer("milliseconds with a point", "TIMER_DELAY_MS", "1.5");
        timer("time without end", "TIMER_DELIVER_MS", Long.MAX_VALUE);
        timer("time before 1970", "TIMER_DELIVER_MS", -7);
        timer("time of no number", "TIMER_DELIVER_MS", "noon");
        timer("time that passed", "TIMER_DELIVER_MS", now - 1);
        timer("three times", "TIMER_DELAY_SEC", 3_600, "TIMER_DELAY_MS", 1, "TIMER_DELIVER_MS", 1);
        timer("two times", "TIMER_DELAY_MS", HOUR, "TIMER_DELIVER_MS", 1);
        timer("slot of its own", "TIMER_DELIVER_MS", now + HOUR, "TIMER_OUT_MS", now);
        timer("recall that is over", "TIMER_DELIVER_MS", now - 1, "TIMER_DEL_UNIQKEY", "x");
        timer("recall by a send", "TIMER_DELIVER_MS", now + HOUR, "TIMER_DEL_UNIQKEY", "x");
        timer("longest delay", "TIMER_DELAY_SEC", 259_200);
        timer("longer than the longest", "TIMER_DELAY_SEC", 259_201);
        timer("without key", "TIMER_DELAY_MS", HOUR, "UNIQ_KEY", "");
        stored("at once", "Timed", 0);
        stored("in wait", "rmq_sys_wheel_timer", 0);

        Properties crowd = new Properties();
        crowd.setProperty("timerCongestNumEachSlot", "1");
        pair().admin.updateBrokerConfig(pair().brokerAddr(), crowd);
        String fullSlot = properties("TIMER_DELIVER_MS", (now + 2 * HOUR) / 1_000 * 1_000 + 500);
        Await.until("a crowded slot", () -> talk.refuses(RequestCode.SEND_MESSAGE, with(send("Timed"), "properties", fullSlot), bytes("crowd")));
        Await.until("a full slot", () -> {
            for (int i = 0; i < 20; i++) {
                if (!talk.refuses(RequestCode.SEND_MESSAGE, with(send("Timed"), "properties", fullSlot), bytes("crowd"))) {
                    return false;
                }
            }
            return true;
        });
        sends("into a full slot", with(send("Timed"), "properties", fullSlot));
        crowd.setProperty("timerCongestNumEachSlot", String.valueOf(Integer.MAX_VALUE));
        pair().admin.updateBrokerConfig(pair().brokerAddr(), crowd);

        String key = UNIQ_KEY + "FFF";
        recall("no handle", null);
        recall("empty handle", "");
        recall("handle of another alphabet", "***");
        recall("handle of another version", handle("v2", "Timed", pair().brokerName(), now + HOUR, key));
        recall("handle without key", handle("v1", "Timed", pair().brokerName(), now + HOUR));
        recall("handle of another broker", handle("v1", "Timed", "elsewhere", now + HOUR, key));
        recall("handle of another topic", handle("v1", "Other", pair().brokerName(), now + HOUR, key));
        recall("handle of no time", handle("v1", "Timed", pair().brokerName(), "noon", key));
        recall("handle of a time that passed", handle("v1", "Timed", pair().brokerName(), now - 1, key));
        recall("handle beyond the longest delay", handle("v1", "Timed", pair().brokerName(), now + 100 * HOUR, key));
        recall("handle of a message nobody knows", handle("v1", "Timed", pair().brokerName(), now + HOUR, key));
        recall("handle with more words", handle("v1", "Timed", pair().brokerName(), now + HOUR, key, "more"));
        talk.ask("recall in a topic that is not there", RequestCode.RECALL_MESSAGE,
            fields("producerGroup", "OddPG", "topic", "Nowhere", "recallHandle", handle("v1", "Nowhere", pair().brokerName(), now + HOUR, key)), null);
        talk.ask("recall in a topic that is closed", RequestCode.RECALL_MESSAGE,
            fields("producerGroup", "OddPG", "topic", "TimedClosed", "recallHandle", handle("v1", "TimedClosed", pair().brokerName(), now + HOUR, key)), null);
        talk.compare();
    }

    private void timer(String section, Object... properties) throws Exception {
        sends(section, with(send("Timed"), "properties", properties(properties)));
    }

    private static String handle(Object... words) {
        String text = String.join(" ", Arrays.stream(words).map(String::valueOf).toArray(String[]::new));
        return Base64.getUrlEncoder().encodeToString(bytes(text));
    }

    private void recall(String section, String handle) throws Exception {
        talk.ask(section, RequestCode.RECALL_MESSAGE, with(fields("producerGroup", "OddPG", "topic", "Timed"), "recallHandle", handle), null);
    }

    @Test
    void pulls() throws Exception {
        begin("pulls");
        createTopic("Pulled", 2, 6);
        createTopic("PulledNot", 1, 2);
        group("PullCG", config -> { });
        group("PullOff", config -> config.setConsumeEnable(false));
        for (int i = 0; i < 5; i++) {
            sends("m" + i, with(send("Pulled"), "properties", properties("TAGS", i % 2 == 0 ? "even" : "odd", "n", i)));
            // Each in a millisecond of its own, for what is looked up by time.
            Await.pause(20);
        }
        Await.until("five messages", () -> pair().admin.maxOffset(queue("Pulled", 0)) == 5);
        pull("all");
        pull("of an unknown group", "consumerGroup", "PullUnknown");
        pull("of an impossible group", "consumerGroup", "bad!group");
        pull("of a group that is off", "consumerGroup", "PullOff");
        pull("of an unknown topic", "topic", "Nowhere");
        pull("of a topic that is closed", "topic", "PulledNot");
        pull("of a queue below the first", "queueId", -1);
        pull("of a queue behind the last", "queueId", 2);
        pull("from before the first", "queueOffset", -1);
        pull("from the end", "queueOffset", 5);
        pull("from behind the end", "queueOffset", 6);
        pull("from the beginning of an empty queue", "queueId", 1);
        pull("from the middle of an empty queue", "queueId", 1, "queueOffset", 3);
        pull("of nothing", "maxMsgNums", 0);
        pull("of less than nothing", "maxMsgNums", -1);
        pull("of a lot", "maxMsgNums", 100_000);
        pull("of no bytes", "maxMsgBytes", 0);
        pull("of few bytes", "maxMsgBytes", 1);
        pull("of a tag", "subscription", "odd");
        pull("of two tags", "subscription", "odd || none");
        pull("of no tag", "subscription", "none");
        pull("of an empty tag", "subscription", "");
        pull("of bars", "subscription", "||");
        pull("of blanks", "subscription", " ");
        pull("of blank tags", "subscription", " || ");
        pull("without subscription", "subscription", null);
        pull("without type", "expressionType", null);
        pull("of a type nobody knows", "expressionType", "XPATH", "subscription", "n > 2");
        pull("by property", "expressionType", "SQL92", "subscription", "n > 2");
        pull("by a property nobody has", "expressionType", "SQL92", "subscription", "x = 'y'");
        pull("by a broken expression", "expressionType", "SQL92", "subscription", "n >");
        talk.otherwise("a Java broker without assertions filters nothing then", "pull by a broken expression", "pull of a type nobody knows");
        talk.otherwise("a Java broker does not look at the limit", "pull of no bytes", "pull of few bytes");
        talk.otherwise("a Java exception shows through", "client configuration another language", "end 31 of no queue");
        talk.otherwise("ours refuses any request without a field it needs by one code", "commit of no queue", "commit of no offset");
        pull("by an empty expression", "expressionType", "SQL92", "subscription", "");
        pull("by what a heartbeat said", "sysFlag", 0);
        pull("that commits", "sysFlag", 5, "commitOffset", 3);
        offset("after a pull that committed", "PullCG", "Pulled", 0);
        pull("that waits for nothing", "sysFlag", 6, "queueOffset", 5, "suspendTimeoutMillis", 0);

        offset("of a group that never committed", "PullNew", "Pulled", 0);
        offset("of a queue behind the last", "PullNew", "Pulled", 7);
        offset("of an unknown topic", "PullNew", "Nowhere", 0);
        offset("or nothing", "PullNew", "Pulled", 0, "setZeroIfNotFound", false);
        offset("or zero", "PullNew", "Pulled", 0, "setZeroIfNotFound", true);
        commit("of an unknown group", "PullUncommitted", "Pulled", 0, 1);
        commit("of an unknown topic", "PullCG", "Nowhere", 0, 1);
        commit("of a queue behind the last", "PullCG", "Pulled", 9, 1);
        commit("below zero", "PullCG", "Pulled", 1, -4);
        offset("after a commit below zero", "PullCG", "Pulled", 1);
        commit("behind the end", "PullCG", "Pulled", 1, 1_000);
        offset("after a commit behind the end", "PullCG", "Pulled", 1);
        talk.ask("commit of no queue", RequestCode.UPDATE_CONSUMER_OFFSET, fields("consumerGroup", "PullCG", "topic", "Pulled", "commitOffset", 1), null);
        talk.ask("commit of no offset", RequestCode.UPDATE_CONSUMER_OFFSET, fields("consumerGroup", "PullCG", "topic", "Pulled", "queueId", 0), null);

        for (int code : new int[] {RequestCode.GET_MAX_OFFSET, RequestCode.GET_MIN_OFFSET, RequestCode.GET_EARLIEST_MSG_STORETIME}) {
            talk.ask("end " + code, code, fields("topic", "Pulled", "queueId", 0), null);
            talk.ask("end " + code + " of an empty queue", code, fields("topic", "Pulled", "queueId", 1), null);
            talk.ask("end " + code + " of a queue behind the last", code, fields("topic", "Pulled", "queueId", 7), null);
            talk.ask("end " + code + " of a queue below the first", code, fields("topic", "Pulled", "queueId", -1), null);
            talk.ask("end " + code + " of an unknown topic", code, fields("topic", "Nowhere", "queueId", 0), null);
            talk.ask("end " + code + " of no queue", code, fields("topic", "Pulled"), null);
        }
        List<MessageExt> stored = new StoreReader(pair(), puller).pull(queue("Pulled", 0), 0, 5);
        Map<String, Long> times = new TreeMap<>();
        times.put("before all", stored.get(0).getStoreTimestamp() - 10);
        times.put("of the first", stored.get(0).getStoreTimestamp());
        times.put("of the last", stored.get(4).getStoreTimestamp());
        times.put("behind all", stored.get(4).getStoreTimestamp() + 10);
        times.put("of 1970", 0L);
        times.put("before 1970", -1L);
        for (String at : times.keySet()) {
            for (String boundary : List.of("LOWER", "UPPER", "lower", "MIDDLE", "")) {
                talk.ask("offset " + at + " " + boundary, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP,
                    with(fields("topic", "Pulled", "queueId", 0, "timestamp", times.get(at)), "boundaryType", boundary.isEmpty() ? null : boundary), null);
            }
        }
        talk.ask("offset at a time of an empty queue", RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, fields("topic", "Pulled", "queueId", 1, "timestamp", 5), null);
        talk.ask("offset at a time of a queue behind the last", RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, fields("topic", "Pulled", "queueId", 7, "timestamp", 5), null);
        talk.ask("offset at a time of an unknown topic", RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, fields("topic", "Nowhere", "queueId", 0, "timestamp", 5), null);
        talk.ask("message behind the log", RequestCode.VIEW_MESSAGE_BY_ID, fields("offset", 1L << 40), null);
        talk.ask("message before the log", RequestCode.VIEW_MESSAGE_BY_ID, fields("offset", -1), null);
        talk.ask("message inside another", RequestCode.VIEW_MESSAGE_BY_ID, fields("offset", stored.get(0).getCommitLogOffset() + 1), null);
        talk.ask("members of no group", RequestCode.GET_CONSUMER_LIST_BY_GROUP, fields("consumerGroup", "PullNobody"), null);
        talk.ask("members of an impossible group", RequestCode.GET_CONSUMER_LIST_BY_GROUP, fields("consumerGroup", "bad!group"), null);
        talk.ask("keys of nothing", RequestCode.QUERY_MESSAGE,
            fields("topic", "Pulled", "key", "none", "maxNum", 32, "beginTimestamp", 0, "endTimestamp", Long.MAX_VALUE), null);
        talk.ask("keys of no message", RequestCode.QUERY_MESSAGE,
            fields("topic", "Pulled", "key", "none", "maxNum", 0, "beginTimestamp", 5, "endTimestamp", 1), null);
        configuration("no body", null);
        configuration("broken", "{\"clientId\":\"c\"");
        configuration("no group", "{\"clientId\":\"c\",\"subscriptionData\":{\"topic\":\"Pulled\",\"subString\":\"a\",\"expressionType\":\"SQL92\"}}");
        configuration("tags", "{\"clientId\":\"c\",\"group\":\"g\",\"subscriptionData\":{\"topic\":\"Pulled\",\"subString\":\"||\",\"expressionType\":\"TAG\"}}");
        configuration("broken sql", "{\"clientId\":\"c\",\"group\":\"g\",\"subscriptionData\":{\"topic\":\"Pulled\",\"subString\":\"a >\",\"expressionType\":\"SQL92\"}}");
        configuration("sql", "{\"clientId\":\"c\",\"group\":\"g\",\"subscriptionData\":{\"topic\":\"Pulled\",\"subString\":\"a > 1\",\"expressionType\":\"SQL92\"}}");
        configuration("another language", "{\"clientId\":\"c\",\"group\":\"g\",\"subscriptionData\":{\"topic\":\"Pulled\",\"subString\":\"a\",\"expressionType\":\"XPATH\"}}");
        for (int code : new int[] {RequestCode.LOCK_BATCH_MQ, RequestCode.UNLOCK_BATCH_MQ}) {
            talk.ask("lock " + code + " of nothing", code, fields(), bytes("{\"clientId\":\"c\",\"consumerGroup\":\"PullCG\",\"mqSet\":[]}"));
            talk.ask("lock " + code + " of a queue that is not there", code, fields(),
                bytes("{\"clientId\":\"c\",\"consumerGroup\":\"PullCG\",\"mqSet\":[{\"topic\":\"Nowhere\",\"brokerName\":\"x\",\"queueId\":7}]}"));
            talk.ask("lock " + code + " without body", code, fields(), null);
        }
        talk.ask("goodbye of a stranger", RequestCode.UNREGISTER_CLIENT, fields("clientID", "stranger", "consumerGroup", "PullCG", "producerGroup", "p"), null);
        talk.compare();
    }

    private void pull(String section, Object... more) throws Exception {
        talk.ask("pull " + section, RequestCode.PULL_MESSAGE, with(fields("consumerGroup", "PullCG", "topic", "Pulled", "queueId", 0, "queueOffset", 0,
            "maxMsgNums", 32, "sysFlag", 4, "commitOffset", 0, "suspendTimeoutMillis", 1_000, "subscription", "*", "subVersion", 0,
            "expressionType", "TAG"), more), null);
    }

    private void offset(String section, String group, String topic, int queue, Object... more) throws Exception {
        talk.ask("offset " + section, RequestCode.QUERY_CONSUMER_OFFSET, with(fields("consumerGroup", group, "topic", topic, "queueId", queue), more), null);
    }

    private void commit(String section, String group, String topic, int queue, long offset) throws Exception {
        talk.ask("commit " + section, RequestCode.UPDATE_CONSUMER_OFFSET,
            fields("consumerGroup", group, "topic", topic, "queueId", queue, "commitOffset", offset), null);
    }

    private void configuration(String section, String body) throws Exception {
        talk.ask("client configuration " + section, RequestCode.CHECK_CLIENT_CONFIG, fields(), body == null ? null : bytes(body));
    }

    @Test
    void pops() throws Exception {
        begin("pops");
        talk.otherwise("ours refuses what would find nothing for ever", "pop of nothing");
        talk.otherwise("ours looks whether a message is wanted also by its properties", "notification by property, switched off");
        createTopic("Popped", 2, 6);
        createTopic("PoppedEmpty", 2, 6);
        createTopic("PoppedNot", 1, 2);
        group("PopCG", config -> { });
        group("PopOff", config -> config.setConsumeEnable(false));
        group("PopOrder", config -> config.setConsumeMessageOrderly(true));
        for (int i = 0; i < 4; i++) {
            sends("p" + i, with(send("Popped"), "properties", properties("TAGS", "T", "n", i)));
        }
        Await.until("four messages", () -> pair().admin.maxOffset(queue("Popped", 0)) == 4);
        pop("of an unknown topic", "topic", "Nowhere");
        pop("of a topic that is closed", "topic", "PoppedNot");
        pop("of an impossible group", "consumerGroup", "bad!group");
        pop("of a group that is off", "consumerGroup", "PopOff");
        pop("of a queue behind the last", "queueId", 2);
        pop("of too many", "maxMsgNums", 33);
        pop("of nothing", "maxMsgNums", 0, "topic", "PoppedEmpty");
        pop("of an empty topic", "topic", "PoppedEmpty");
        pop("that came too late", "bornTime", System.currentTimeMillis() - 60_000);
        pop("by bars", "exp", "||");
        pop("by blanks", "consumerGroup", "PopBlank", "exp", " ");
        pop("by a broken expression", "expType", "SQL92", "exp", "n >");
        pop("of a type nobody knows", "expType", "XPATH", "exp", "n");
        pop("without a start", "initMode", null);
        pop("without an invisible time", "invisibleTime", null);
        pop("by properties nobody has", "consumerGroup", "PopSql", "expType", "SQL92", "exp", "n > 100");
        RemotingCommand two = pop("of two", "consumerGroup", "PopTwo", "maxMsgNums", 2, "queueId", 0);
        String[] info = two.getExtFields().get("startOffsetInfo").split(" ");
        long popTime = Long.parseLong(two.getExtFields().get("popTime"));
        String revive = two.getExtFields().get("reviveQid");
        String handle = handle(info[2], popTime, revive, 0);
        ack("with no handle", 0, null);
        ack("with an empty handle", 0, "");
        ack("with a short handle", 0, "0 1 2");
        ack("with words", 0, "a b c d e f g h");
        ack("of a queue behind the last", 0, handle, "queueId", 5);
        ack("of an unknown topic", 0, handle, "topic", "Nowhere");
        ack("before the queue", -1, handle);
        ack("behind the queue", 99, handle);
        ack("of another group", 0, handle, "consumerGroup", "PopNobody");
        ack("of a message", 0, handle);
        ack("of a message again", 0, handle);
        ack("in order of what was not", 0, handle(info[2], popTime, "999", 0));
        change("with no handle", 0, null);
        change("with a short handle", 0, "0 1 2");
        change("of a queue behind the last", 0, handle, "queueId", 5);
        change("of an unknown topic", 0, handle, "topic", "Nowhere");
        change("behind the queue", 99, handle);
        change("before the queue", -1, handle);
        change("to no time", 1, handle, "invisibleTime", 0);
        change("to less than no time", 1, handle, "invisibleTime", -5);
        change("in order of what was not", 1, handle(info[2], popTime, "999", 1));
        for (String body : List.of("", "{", "[]", "{}", "{\"brokerName\":\"x\",\"acks\":[]}",
            "{\"brokerName\":\"x\",\"acks\":[{\"c\":\"PopCG\",\"t\":\"Nowhere\",\"r\":\"0\",\"so\":0,\"q\":0,\"rq\":0,\"pt\":1,\"it\":1,\"b\":\"AQ==\"}]}",
            "{\"brokerName\":\"x\",\"acks\":[{\"c\":\"PopCG\",\"t\":\"Popped\",\"r\":\"0\",\"so\":0,\"q\":9,\"rq\":0,\"pt\":1,\"it\":1,\"b\":\"AQ==\"}]}")) {
            talk.ask("acks " + body, RequestCode.BATCH_ACK_MESSAGE, fields(), bytes(body));
        }

        popInOrder("one", "one");
        RemotingCommand again = popInOrder("one again", "one");
        popInOrder("another while one is away", "two");
        long orderTime = Long.parseLong(again.getExtFields().getOrDefault("popTime", "0"));
        String ordered = handle("0", orderTime, "999", 0);
        ack("in order of another time", 0, handle("0", 1, "999", 0), "consumerGroup", "PopOrder");
        ack("in order behind the batch", 3, handle("0", orderTime, "999", 3), "consumerGroup", "PopOrder");
        change("in order behind the batch", 3, handle("0", orderTime, "999", 3), "consumerGroup", "PopOrder");
        change("in order", 0, ordered, "consumerGroup", "PopOrder", "invisibleTime", 600_000);
        ack("in order", 0, ordered, "consumerGroup", "PopOrder");
        offset("in order after an ack", "PopOrder", "Popped", 0);
        ack("in order again", 0, ordered, "consumerGroup", "PopOrder");
        popInOrder("the next while one is away", "three");

        for (int code : new int[] {RequestCode.PEEK_MESSAGE, RequestCode.NOTIFICATION, RequestCode.POLLING_INFO}) {
            look(code, "of an unknown topic", "topic", "Nowhere");
            look(code, "of a topic that is closed", "topic", "PoppedNot");
            look(code, "of an impossible group", "consumerGroup", "bad!group");
            look(code, "of a group that is off", "consumerGroup", "PopOff");
            look(code, "of a queue behind the last", "queueId", 2);
            look(code, "of an empty topic", "topic", "PoppedEmpty");
            look(code, "of a queue", "queueId", 0, "consumerGroup", "PopLook");
            look(code, "of any queue", "consumerGroup", "PopLook");
            look(code, "of too many", "maxMsgNums", 33);
        }
        pair().admin.updateBrokerConfig(pair().brokerAddr(), switchOf("enablePropertyFilter", false));
        pop("by property, switched off", "consumerGroup", "PopSql", "expType", "SQL92", "exp", "n > 100");
        talk.ask("notification by property, switched off", RequestCode.NOTIFICATION, fields("consumerGroup", "PopSql2", "topic", "Popped", "queueId", 0,
            "pollTime", 0, "bornTime", System.currentTimeMillis(), "expType", "SQL92", "exp", "n > 100"), null);
        pair().admin.updateBrokerConfig(pair().brokerAddr(), switchOf("enablePropertyFilter", true));
        assignment("no body", "");
        assignment("nothing", "{}");
        assignment("unknown topic", "{\"topic\":\"Nowhere\",\"consumerGroup\":\"PopCG\",\"clientId\":\"c\",\"strategyName\":\"AVG\",\"messageModel\":\"CLUSTERING\"}");
        assignment("broadcast", "{\"topic\":\"Popped\",\"consumerGroup\":\"PopCG\",\"clientId\":\"c\",\"strategyName\":\"AVG\",\"messageModel\":\"BROADCASTING\"}");
        assignment("unknown strategy", "{\"topic\":\"Popped\",\"consumerGroup\":\"PopCG\",\"clientId\":\"c\",\"strategyName\":\"BEST\",\"messageModel\":\"CLUSTERING\"}");
        mode("of a retry topic", "{\"topic\":\"%RETRY%PopCG\",\"consumerGroup\":\"PopCG\",\"mode\":\"POP\",\"popShareQueueNum\":0}");
        mode("of an unknown topic", "{\"topic\":\"Nowhere\",\"consumerGroup\":\"PopCG\",\"mode\":\"POP\",\"popShareQueueNum\":0}");
        mode("of no mode", "{\"topic\":\"Popped\",\"consumerGroup\":\"PopCG\",\"popShareQueueNum\":0}");
        mode("of no body", "");
        talk.compare();
    }

    private static Properties switchOf(String key, boolean value) {
        Properties properties = new Properties();
        properties.setProperty(key, String.valueOf(value));
        return properties;
    }

    private RemotingCommand pop(String section, Object... more) throws Exception {
        return talk.ask("pop " + section, RequestCode.POP_MESSAGE, with(fields("consumerGroup", "PopCG", "topic", "Popped", "queueId", -1,
            "maxMsgNums", 32, "invisibleTime", 600_000, "pollTime", 0, "bornTime", System.currentTimeMillis(), "initMode", 0, "expType", "TAG",
            "exp", "*", "order", false), more), null);
    }

    private RemotingCommand popInOrder(String section, String attempt) throws Exception {
        return pop("in order, " + section, "consumerGroup", "PopOrder", "order", true, "queueId", 0, "maxMsgNums", 2, "attemptId", attempt);
    }

    private String handle(String start, long popTime, String revive, long offset) {
        return start + " " + popTime + " 600000 " + revive + " 0 " + pair().brokerName() + " 0 " + offset;
    }

    private void ack(String section, long offset, String handle, Object... more) throws Exception {
        talk.ask("ack " + section, RequestCode.ACK_MESSAGE,
            with(fields("consumerGroup", "PopTwo", "topic", "Popped", "queueId", 0, "extraInfo", handle, "offset", offset), more), null);
    }

    private void change(String section, long offset, String handle, Object... more) throws Exception {
        talk.ask("change " + section, RequestCode.CHANGE_MESSAGE_INVISIBLETIME,
            with(fields("consumerGroup", "PopTwo", "topic", "Popped", "queueId", 0, "extraInfo", handle, "offset", offset, "invisibleTime", 600_000), more), null);
    }

    private void look(int code, String section, Object... more) throws Exception {
        talk.ask(code + " " + section, code, with(fields("consumerGroup", "PopCG", "topic", "Popped", "queueId", -1, "maxMsgNums", 32,
            "pollTime", 0, "bornTime", System.currentTimeMillis()), more), null);
    }

    private void assignment(String section, String body) throws Exception {
        talk.ask("assignment " + section, RequestCode.QUERY_ASSIGNMENT, fields(), bytes(body));
    }

    private void mode(String section, String body) throws Exception {
        talk.ask("mode " + section, RequestCode.SET_MESSAGE_REQUEST_MODE, fields(), bytes(body));
    }

    @Test
    void settings() throws Exception {
        begin("settings");
        talk.otherwise("ours takes no settings that make no sense", "topic of a permission nobody knows", "topic Set6 as it is kept",
            "topic of less than no queues", "topic of many queues", "group without body", "group 6 as it is kept");
        talk.otherwise("a set has no order, and a Java exception shows through", "topic of type ''", "topic of type 'fifo'",
            "topic with a time that is no number");
        topic("plain", "Set1");
        topic("again", "Set1");
        topic("of no queues", "Set2", "readQueueNums", 0, "writeQueueNums", 0);
        topic("of less than no queues", "Set3", "readQueueNums", -1, "writeQueueNums", -1);
        topic("of many queues", "Set4", "readQueueNums", 70_000, "writeQueueNums", 70_000);
        topic("of no permission", "Set5", "perm", 0);
        topic("of a permission nobody knows", "Set6", "perm", 99);
        topic("of a filter nobody knows", "Set7", "topicFilterType", "NONE");
        topic("of many tags", "Set8", "topicFilterType", "MULTI_TAG");
        topic("without order", "Set9", "order", null);
        topic("of no name", "");
        topic("of a system topic", "SCHEDULE_TOPIC_XXXX");
        topic("of an impossible name", "bad topic!");
        topic("of a name too long", "S".repeat(128));
        for (String type : List.of("NORMAL", "FIFO", "DELAY", "TRANSACTION", "PRIORITY", "LITE", "UNSPECIFIED", "MIXED", "fifo", "")) {
            topic("of type '" + type + "'", "Type" + type, "attributes", "+message.type=" + type);
        }
        topic("with an attribute nobody knows", "Attr1", "attributes", "+colour=red");
        topic("with an attribute without sign", "Attr2", "attributes", "message.type=FIFO");
        topic("with an attribute twice", "Attr3", "attributes", "+message.type=FIFO,+message.type=DELAY");
        topic("with an attribute to be taken away", "Attr4", "attributes", "-message.type");
        topic("with two", "Attr5", "attributes", "+message.type=FIFO,+reserve.time=7");
        topic("with one changed", "Attr5", "attributes", "+message.type=DELAY");
        topic("with one taken away", "Attr5", "attributes", "-reserve.time");
        topic("with one taken away that was not there", "Attr5", "attributes", "-reserve.time");
        topic("with one changed that never changes", "Attr5", "attributes", "+queue.type=SimpleCQ");
        topic("with a time that is no number", "Attr6", "attributes", "+reserve.time=long");
        topic("with an expiration too long", "Attr7", "attributes", "+lite.topic.expiration=43201");
        for (String name : List.of("Set1", "Set2", "Set6", "Set8", "TypeFIFO", "Attr5")) {
            talk.body("topic " + name + " as it is kept", RequestCode.GET_TOPIC_CONFIG, fields("topic", name, "lo", false), null);
        }
        createTopic("TypeFIFO", 1, 6);
        // A broker takes any message: the types are for the proxy.
        sends("delayed to a topic of order", with(send("TypeFIFO"), "properties", properties("DELAY", 10)));
        sends("half to a topic of order", with(send("TypeFIFO"), "sysFlag", 4, "properties", properties("TRAN_MSG", true, "PGROUP", "OddPG")));
        sends("plain to a topic of order", send("TypeFIFO"));
        sends("ordered to a topic of delays", with(send("TypeDELAY"), "properties", properties("__SHARDINGKEY", "k")));
        sends("timed to a topic of transactions", with(send("TypeTRANSACTION"), "properties", properties("TIMER_DELAY_MS", HOUR)));
        sends("prior to a plain topic", with(send("TypeNORMAL"), "properties", properties("_SYS_MSG_PRIORITY_", 0)));
        sends("plain to a topic of light topics", send("TypeLITE"));
        for (String name : List.of("TypeFIFO", "TypeDELAY", "TypeTRANSACTION", "TypeNORMAL", "TypeLITE")) {
            stored("stored in " + name, name, 0);
        }

        setGroup("plain", "{\"groupName\":\"Group1\"}");
        setGroup("of no name", "{}");
        setGroup("of an impossible name", "{\"groupName\":\"bad!group\"}");
        setGroup("of a name too long", "{\"groupName\":\"" + "g".repeat(256) + "\"}");
        setGroup("without body", "");
        setGroup("that cannot be read", "{\"groupName\":");
        setGroup("with everything", "{\"groupName\":\"Group2\",\"consumeEnable\":false,\"consumeFromMinEnable\":false,\"consumeBroadcastEnable\":false,"
            + "\"consumeMessageOrderly\":true,\"retryQueueNums\":3,\"retryMaxTimes\":5,\"brokerId\":1,\"whichBrokerWhenConsumeSlowly\":2,"
            + "\"notifyConsumerIdsChangedEnable\":false,\"groupSysFlag\":1,\"consumeTimeoutMinute\":7,"
            + "\"subscriptionDataSet\":[{\"topic\":\"Set1\",\"expressionType\":\"TAG\",\"expression\":\"*\",\"version\":1}],\"attributes\":{\"+priority.factor\":\"50\"}}");
        setGroup("that is retried in growing times", "{\"groupName\":\"Group3\",\"groupRetryPolicy\":{\"type\":\"EXPONENTIAL\","
            + "\"exponentialRetryPolicy\":{\"initial\":500,\"max\":20000,\"multiplier\":4}}}");
        setGroup("that is retried in times of its own", "{\"groupName\":\"Group4\",\"groupRetryPolicy\":{\"type\":\"CUSTOMIZED\","
            + "\"customizedRetryPolicy\":{\"next\":[1000,2000]}}}");
        setGroup("of a policy without its times", "{\"groupName\":\"Group5\",\"groupRetryPolicy\":{\"type\":\"EXPONENTIAL\"}}");
        setGroup("of a policy nobody knows", "{\"groupName\":\"Group6\",\"groupRetryPolicy\":{\"type\":\"RANDOM\"}}");
        setGroup("with an attribute nobody knows", "{\"groupName\":\"Group7\",\"attributes\":{\"+colour\":\"red\"}}");
        setGroup("with a factor too large", "{\"groupName\":\"Group8\",\"attributes\":{\"+priority.factor\":\"101\"}}");
        setGroup("with its attribute taken away", "{\"groupName\":\"Group2\",\"attributes\":{\"-priority.factor\":\"\"}}");
        for (int i = 1; i <= 6; i++) {
            talk.body("group " + i + " as it is kept", RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG, fields("group", "Group" + i), null);
        }
        talk.ask("group that is taken away", RequestCode.DELETE_SUBSCRIPTIONGROUP, fields("groupName", "Group1", "cleanOffset", true), null);
        talk.ask("group that is taken away again", RequestCode.DELETE_SUBSCRIPTIONGROUP, fields("groupName", "Group1", "cleanOffset", true), null);
        talk.ask("topic that is taken away", RequestCode.DELETE_TOPIC_IN_BROKER, fields("topic", "Set1"), null);
        talk.ask("topic that is taken away again", RequestCode.DELETE_TOPIC_IN_BROKER, fields("topic", "Set1"), null);
        talk.ask("system topic that is taken away", RequestCode.DELETE_TOPIC_IN_BROKER, fields("topic", "SCHEDULE_TOPIC_XXXX"), null);
        talk.ask("no topic that is taken away", RequestCode.DELETE_TOPIC_IN_BROKER, fields("topic", ""), null);
        talk.compare();
    }

    private void topic(String section, String name, Object... more) throws Exception {
        talk.ask("topic " + section, RequestCode.UPDATE_AND_CREATE_TOPIC, with(fields("topic", name, "defaultTopic", "TBW102", "readQueueNums", 1,
            "writeQueueNums", 1, "perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false, "attributes", ""), more), null);
    }

    private void setGroup(String section, String body) throws Exception {
        talk.ask("group " + section, RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, fields(), bytes(body));
    }

    @Test
    void consumers() throws Exception {
        begin("consumers");
        talk.otherwise("ours says what is wrong with the id", "half message to be resumed that is none");
        createTopic("Beaten", 1, 6);
        for (int i = 0; i < 5; i++) {
            sends("b" + i, with(send("Beaten"), "properties", properties("TAGS", i % 2 == 0 ? "even" : "odd", "n", i)));
        }
        Await.until("five messages", () -> pair().admin.maxOffset(queue("Beaten", 0)) == 5);
        talk.ask("heartbeat without body", RequestCode.HEART_BEAT, fields(), null);
        talk.ask("heartbeat that cannot be read", RequestCode.HEART_BEAT, fields(), bytes("{\"clientID\":"));
        talk.ask("heartbeat of nobody", RequestCode.HEART_BEAT, fields(), bytes("{\"clientID\":\"odd\",\"consumerDataSet\":[],\"producerDataSet\":[]}"));
        group("BeatAlone", config -> config.setConsumeBroadcastEnable(false));
        beat("bad!group", "CLUSTERING", "even", "TAG", 5);
        beat("BeatTag", "CLUSTERING", "odd", "TAG", 5);
        beat("BeatBlank", "CLUSTERING", " ", "TAG", 5);
        beat("BeatSql", "CLUSTERING", "n > 2", "SQL92", 5);
        beat("BeatBroken", "CLUSTERING", "n >", "SQL92", 5);
        beat("BeatOther", "CLUSTERING", "n > 2", "XPATH", 5);
        beat("BeatAlone", "BROADCASTING", "*", "TAG", 5);
        beat("BeatForbidden", "CLUSTERING", "*", "TAG", 5);
        pullBeaten("impossible group", "bad!group", 5);
        pullBeaten("tag", "BeatTag", 5);
        pullBeaten("tag of a version to come", "BeatTag", 6);
        pullBeaten("tag of a version before", "BeatTag", 4);
        pullBeaten("blank", "BeatBlank", 5);
        pullBeaten("sql", "BeatSql", 5);
        pullBeaten("sql of a version to come", "BeatSql", 6);
        pullBeaten("broken sql", "BeatBroken", 5);
        pullBeaten("another language", "BeatOther", 5);
        pullBeaten("broadcast that may not be", "BeatAlone", 5);
        talk.body("a group is forbidden a topic", RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN,
            fields("group", "BeatForbidden", "topic", "Beaten", "readable", false), null);
        pullBeaten("forbidden", "BeatForbidden", 5);
        talk.body("a group is allowed a topic again", RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN,
            fields("group", "BeatForbidden", "topic", "Beaten", "readable", true), null);
        pullBeaten("allowed again", "BeatForbidden", 5);
        talk.ask("pull of a topic that the heartbeat did not name", RequestCode.PULL_MESSAGE, pullOf("BeatTag", "Last", 5), null);
        talk.body("members of a group", RequestCode.GET_CONSUMER_LIST_BY_GROUP, fields("consumerGroup", "BeatTag"), null);
        talk.ask("connections of no group", RequestCode.GET_CONSUMER_CONNECTION_LIST, fields("consumerGroup", "BeatNobody"), null);
        talk.ask("connections of no producers", RequestCode.GET_PRODUCER_CONNECTION_LIST, fields("producerGroup", "BeatNobody"), null);
        lock(RequestCode.LOCK_BATCH_MQ, "of one", "one", "BeatLock");
        lock(RequestCode.LOCK_BATCH_MQ, "of two", "two", "BeatLock");
        lock(RequestCode.LOCK_BATCH_MQ, "of one again", "one", "BeatLock");
        lock(RequestCode.UNLOCK_BATCH_MQ, "of another", "two", "BeatLock");
        lock(RequestCode.LOCK_BATCH_MQ, "after another's unlock", "two", "BeatLock");
        lock(RequestCode.UNLOCK_BATCH_MQ, "of its own", "one", "BeatLock");
        lock(RequestCode.LOCK_BATCH_MQ, "after its unlock", "two", "BeatLock");
        talk.ask("goodbye", RequestCode.UNREGISTER_CLIENT, fields("clientID", "odd", "consumerGroup", "BeatTag"), null);
        pullBeaten("after a goodbye", "BeatTag", 5);
        talk.ask("offset to be reset of nobody", RequestCode.INVOKE_BROKER_TO_RESET_OFFSET,
            fields("topic", "Beaten", "group", "BeatNobody", "timestamp", 0, "isForce", true), null);
        talk.ask("offset to be reset of an unknown topic", RequestCode.INVOKE_BROKER_TO_RESET_OFFSET,
            fields("topic", "Nowhere", "group", "BeatTag", "timestamp", 0, "isForce", true), null);
        talk.ask("half message to be resumed that is none", RequestCode.RESUME_CHECK_HALF_MESSAGE, fields("topic", "Beaten", "msgId", "x"), null);
        talk.compare();
    }

    private void beat(String group, String model, String expression, String type, long version) throws Exception {
        String codes = expression.equals("odd") ? "[" + expression.hashCode() + "]" : "[]";
        String tags = expression.equals("odd") ? "[\"odd\"]" : "[]";
        talk.ask("heartbeat of " + group, RequestCode.HEART_BEAT, fields(), bytes("{\"clientID\":\"odd\",\"producerDataSet\":[],\"consumerDataSet\":[{"
            + "\"groupName\":\"" + group + "\",\"consumeType\":\"CONSUME_PASSIVELY\",\"messageModel\":\"" + model + "\","
            + "\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\"unitMode\":false,\"subscriptionDataSet\":[{\"topic\":\"Beaten\",\"subString\":\""
            + expression + "\",\"expressionType\":\"" + type + "\",\"subVersion\":" + version + ",\"classFilterMode\":false,\"tagsSet\":" + tags
            + ",\"codeSet\":" + codes + "}]}]}"));
    }

    private static Map<String, Object> pullOf(String group, String topic, long version) {
        return fields("consumerGroup", group, "topic", topic, "queueId", 0, "queueOffset", 0, "maxMsgNums", 32, "sysFlag", 0, "commitOffset", 0,
            "suspendTimeoutMillis", 1_000, "subVersion", version, "expressionType", "TAG");
    }

    private void pullBeaten(String section, String group, long version) throws Exception {
        RemotingCommand answer = talk.ask("pull by heartbeat: " + section, RequestCode.PULL_MESSAGE, pullOf(group, "Beaten", version), null);
        int messages = answer.getBody() == null ? 0 : MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody())).size();
        talk.note("messages by heartbeat: " + section, messages + " messages");
    }
}
