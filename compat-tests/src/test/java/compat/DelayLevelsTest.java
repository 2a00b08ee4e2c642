package compat;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** All 18 delay levels, with delays short enough to wait for, and a kill between two messages of each. */
class DelayLevelsTest extends CompatTest {
    private static final int LEVELS = 18;

    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("delay-levels", Map.of("messageDelayLevel", "1s 1s 1s 1s 1s 1s 2s 2s 2s 2s 2s 2s 3s 3s 3s 3s 3s 4s"));

    private DefaultMQPullConsumer puller;

    @Override
    Pair pair() {
        return SERVERS.pair();
    }

    private static long delayMillis(int level) {
        return 1_000L * (level == LEVELS ? 4 : (level + 5) / 6);
    }

    @Test
    void eachLevelDeliversInItsTimeAndGoesOnBehindWhatItDeliveredBeforeAKill() throws Exception {
        String topic = newTopic("Levels", 1);
        puller = startPuller();
        List<String> sent = deliver(topic, "before");
        Await.until("progress of each level", () -> progress().values().stream().filter(offset -> ((Number) offset).intValue() == 1).count() == LEVELS);
        // Its progress is written every ten seconds.
        pair().broker.kill();
        pair().broker.start();
        pair().awaitRegistered();
        sent.addAll(deliver(topic, "after"));
        List<String> delivered = bodies(topic);
        assertEquals(new TreeSet<>(sent), new TreeSet<>(delivered));
        if (Kind.broker() == Kind.RUST) {
            // A Java broker delivers again what it delivered since it wrote its progress.
            assertEquals(sent.size(), delivered.size(), "each once: " + delivered);
        }
        for (int level = 1; level <= LEVELS; level++) {
            assertEquals(2, pair().admin.maxOffset(queue("SCHEDULE_TOPIC_XXXX", level - 1)), "level " + level);
        }
    }

    /** One message of each level, until all have come; the last has the level beyond. */
    private List<String> deliver(String topic, String prefix) throws Exception {
        DefaultMQProducer producer = startProducer();
        Map<String, Long> due = new ConcurrentHashMap<>();
        for (int level = 1; level <= LEVELS; level++) {
            Message message = message(topic, prefix + "-" + level);
            message.setDelayTimeLevel(level == LEVELS ? LEVELS + 1 : level);
            due.put(prefix + "-" + level, System.currentTimeMillis() + delayMillis(level));
            assertSent(producer.send(message));
        }
        Await.until("all levels", () -> bodies(topic).containsAll(due.keySet()));
        for (MessageExt message : stored(topic)) {
            long at = due.getOrDefault(body(message), 0L);
            assertTrue(message.getStoreTimestamp() >= at, body(message) + " came " + (at - message.getStoreTimestamp()) + " ms early");
        }
        return new ArrayList<>(due.keySet());
    }

    private List<MessageExt> stored(String topic) throws Exception {
        return new StoreReader(pair(), puller).pull(queue(topic, 0), 0, pair().admin.maxOffset(queue(topic, 0)));
    }

    private List<String> bodies(String topic) throws Exception {
        return stored(topic).stream().map(CompatTest::body).collect(Collectors.toList());
    }

    /** What the broker says of each level. */
    private JSONObject progress() throws Exception {
        RemotingCommand answer = puller.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().getMQClientAPIImpl()
            .getRemotingClient().invokeSync(pair().brokerAddr(), RemotingCommand.createRequestCommand(RequestCode.GET_ALL_DELAY_OFFSET, null), 15_000);
        return JSON.parseObject(new String(answer.getBody(), StandardCharsets.UTF_8)).getJSONObject("offsetTable");
    }
}
