package compat;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.RemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Messages with an arbitrary delivery time, and what takes them back. */
class TimerTest extends CompatTest {
    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("timer", Map.of("recallMessageEnable", "true", "mappedFileSizeTimerLog", "102400"));

    @Override
    Pair pair() {
        return SERVERS.pair();
    }

    @Test
    @Tag("mixed")
    void messagesComeWhenTheyAreDueAndNoSooner() throws Exception {
        String topic = newTopic("Timer", 2);
        Received received = consume(unique("CG"), topic, "*");
        DefaultMQProducer producer = startProducer();
        Map<String, Long> dueAt = new TreeMap<>();
        Message byMillis = message(topic, "T", "k-millis", "millis");
        byMillis.setDelayTimeMs(2_500);
        Message bySeconds = message(topic, "T", "k-seconds", "seconds");
        bySeconds.setDelayTimeSec(2);
        Message atTime = message(topic, "T", "k-time", "time");
        long time = System.currentTimeMillis() + 3_333;
        atTime.setDeliverTimeMs(time);
        dueAt.put("millis", System.currentTimeMillis() + 2_500);
        dueAt.put("seconds", System.currentTimeMillis() + 2_000);
        dueAt.put("time", time);
        for (Message message : List.of(byMillis, bySeconds, atTime)) {
            SendResult result = assertSent(producer.send(message));
            String handle = new String(Base64.getUrlDecoder().decode(result.getRecallHandle()), StandardCharsets.UTF_8);
            String[] words = handle.split(" ");
            assertEquals(List.of("v1", topic, pair().brokerName()), List.of(words).subList(0, 3));
            assertEquals(result.getMsgId(), words[4]);
        }

        received.awaitExactly(dueAt.keySet());

        for (Received.Delivery delivery : received.deliveries()) {
            long due = dueAt.get(delivery.body());
            assertTrue(delivery.at() >= due, delivery.body() + " came " + (due - delivery.at()) + " ms early");
            assertTrue(delivery.at() < due + 60_000, delivery.body() + " came " + (delivery.at() - due) + " ms late");
            MessageExt message = delivery.message();
            assertEquals("T", message.getTags());
            assertEquals("k-" + delivery.body(), message.getKeys());
            long out = Long.parseLong(message.getProperty("TIMER_OUT_MS"));
            assertTrue(out % 1_000 == 0 && out < due + 60_000, "TIMER_OUT_MS " + out);
            assertNotNull(message.getProperty("TIMER_ENQUEUE_MS"));
            assertTrue(Long.parseLong(message.getProperty("TIMER_DEQUEUE_MS")) >= due);
            assertEquals(topic, message.getProperty("REAL_TOPIC"));
        }
    }

    @Test
    void aTimeThatPassedIsNoDelay() throws Exception {
        String topic = newTopic("TimerPast", 1);
        Message message = message(topic, "past");
        message.setDeliverTimeMs(System.currentTimeMillis() - 1_000);
        SendResult result = assertSent(startProducer().send(message));
        assertNull(result.getRecallHandle());
        assertEquals(0, result.getQueueOffset());
        Await.until("the message in its own topic", () -> pair().admin.maxOffset(queue(topic, 0)) == 1);
    }

    @Test
    void whatWaitsIsCountedForOperatorsByTopicAndInAll() throws Exception {
        String topic = newTopic("TimerCounts", 1);
        DefaultMQProducer producer = startProducer();
        for (int hours = 1; hours <= 3; hours++) {
            Message message = message(topic, "in " + hours + " hours");
            message.setDelayTimeSec(hours * 3_600L);
            assertSent(producer.send(message));
        }
        RemotingClient client = producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl().getRemotingClient();
        Await.until("the count of the topic", () -> {
            RemotingCommand answer = client.invokeSync(pair().brokerAddr(),
                RemotingCommand.createRequestCommand(RequestCode.GET_TIMER_METRICS, null), 15_000);
            JSONObject counts = JSON.parseObject(new String(answer.getBody(), StandardCharsets.UTF_8)).getJSONObject("timingCount");
            return counts.containsKey(topic) && counts.getJSONObject(topic).getLongValue("count") == 3;
        });
        Map<String, String> status = pair().admin.fetchBrokerRuntimeStats(pair().brokerAddr()).getTable();
        assertTrue(Long.parseLong(status.get("timerCongestNum")) >= 3, status.get("timerCongestNum"));
        for (String key : List.of("timerReadBehind", "timerOffsetBehind", "timerEnqueueTps", "timerDequeueTps")) {
            assertTrue(status.containsKey(key), key);
        }
    }

    @Test
    void aDelayTooLongIsIllegal() throws Exception {
        String topic = newTopic("TimerFar", 1);
        Message message = message(topic, "far");
        message.setDelayTimeSec(3 * 24 * 3600 + 60);
        DefaultMQProducer producer = startProducer();
        MQBrokerException e = assertThrows(MQBrokerException.class, () -> producer.send(message));
        assertEquals(ResponseCode.MESSAGE_ILLEGAL, e.getResponseCode());
        assertEquals("timer message illegal, the delay time should not be bigger than the max delay 259200000ms; or if set "
            + "del msg, the delay time should be bigger than the current time", e.getErrorMessage());
    }

    @Test
    @Tag("mixed")
    void aRecalledMessageNeverComes() throws Exception {
        String topic = newTopic("Recall", 1);
        DefaultMQProducer producer = startProducer();
        long due = System.currentTimeMillis() + 6_000;
        List<SendResult> sent = new ArrayList<>();
        for (String body : List.of("recalled", "kept")) {
            Message message = message(topic, body);
            message.setDeliverTimeMs(due);
            sent.add(assertSent(producer.send(message)));
        }
        SendResult recalled = sent.get(0);
        assertEquals(recalled.getMsgId(), producer.recallMessage(topic, recalled.getRecallHandle()));
        // Of a later slot: when it comes, the slot of the others is over.
        Message last = message(topic, "last");
        last.setDeliverTimeMs(due + 1_500);
        assertSent(producer.send(last));

        Received received = consume(unique("CG"), topic, "*");
        received.awaitExactly(List.of("kept", "last"));
    }

    @Test
    void recallsOfWhatIsDueOrUnknownAreRefused() throws Exception {
        String topic = newTopic("RecallBad", 1);
        DefaultMQProducer producer = startProducer();
        String broker = pair().brokerName();
        long now = System.currentTimeMillis();
        Map<String, String> remarks = new TreeMap<>();
        remarks.put("v1 " + topic + " " + broker + " " + (now - 5_000) + " key", "recall failed, timestamp invalid");
        remarks.put("v1 " + topic + " " + broker + " " + (now + 4 * 24 * 3600_000L) + " key", "recall failed, timestamp invalid");
        remarks.put("v1 Other " + broker + " " + (now + 5_000) + " key", "recall failed, topic not match");
        for (Map.Entry<String, String> entry : remarks.entrySet()) {
            String handle = Base64.getUrlEncoder().encodeToString(entry.getKey().getBytes(StandardCharsets.UTF_8));
            MQBrokerException e = assertThrows(MQBrokerException.class, () -> producer.recallMessage(topic, handle), entry.getKey());
            assertEquals(604, e.getResponseCode(), entry.getKey());
            assertEquals(entry.getValue(), e.getErrorMessage());
        }
    }

    @Test
    void pendingMessagesSurviveACleanRestartAndAKill() throws Exception {
        String topic = newTopic("TimerRestart", 1);
        DefaultMQProducer producer = startProducer();
        List<String> bodies = sendAhead(producer, topic, "clean", 10_000);
        pair().broker.stop();
        pair().broker.start();
        pair().awaitRegistered();
        Await.until("all after the restart", () -> pair().admin.maxOffset(queue(topic, 0)) >= bodies.size());
        bodies.addAll(sendAhead(startProducer(), topic, "kill", 6_000));
        pair().broker.kill();
        pair().broker.start();
        pair().awaitRegistered();
        Await.until("all after the kill", () -> bodiesOf(topic).containsAll(bodies));
        List<String> delivered = bodiesOf(topic);
        assertEquals(new TreeSet<>(bodies), new TreeSet<>(delivered));
        if (Kind.broker() == Kind.RUST) {
            // A Java broker files messages again that it had filed in the second before it was killed.
            assertEquals(bodies.size(), delivered.size(), "each once: " + delivered);
        }
    }

    /** Messages due about then, a few each second. */
    private List<String> sendAhead(DefaultMQProducer producer, String topic, String prefix, long aheadMillis) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            Message message = message(topic, prefix + "-" + i);
            message.setDelayTimeMs(aheadMillis + 150 * i);
            assertSent(producer.send(message));
            bodies.add(prefix + "-" + i);
        }
        return bodies;
    }

    private List<String> bodiesOf(String topic) throws Exception {
        DefaultMQPullConsumer puller = startPuller();
        return new StoreReader(pair(), puller).pull(queue(topic, 0), 0, pair().admin.maxOffset(queue(topic, 0))).stream()
            .map(CompatTest::body).collect(Collectors.toList());
    }
}
