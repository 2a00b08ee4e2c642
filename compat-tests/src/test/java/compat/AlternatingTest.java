package compat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * A Java store passes from Java to the broker under test and back, twice, with clean stops and with kills; each turn adds
 * messages, and finds all that were there before.
 */
class AlternatingTest extends ExchangeTest {
    private static final int QUEUES = 2;
    private static final int TURNS = 4;

    private StoreReader reader;

    @ParameterizedTest
    @ValueSource(strings = {"clean", "crashed"})
    void aStoreThatChangesHandsLosesNothing(String start) throws Exception {
        Fixture fixture = start.equals("clean") ? Fixture.cleanlyStopped() : Fixture.crashed();
        String old = start.equals("clean") ? "FxPlain" : "FxCrash";
        namesrv = Server.namesrv(Kind.namesrv(), "alternating-namesrv").start();
        Path home = Server.freshHome("alternating");
        fixture.unpackInto(home);
        Map<String, String> config = fixture.openWith();
        // Without it a Java broker that recovers from a kill deletes index files and builds again only their end.
        config.put("messageIndexSafe", "true");
        broker = Server.brokerOn(home, Kind.JAVA, "alternating-broker", namesrv.address(), config).start();
        connect();
        String topic = newTopic("Alternating", QUEUES);
        // Key -> where it was acknowledged, in the order of sending.
        Map<String, String> sent = new LinkedHashMap<>();
        List<Map<String, Object>> oldMessages = describe(old, 0);
        assertTrue(!oldMessages.isEmpty(), old + " holds messages");

        for (int turn = 0; turn < TURNS; turn++) {
            if (turn > 0) {
                leave(turn > 2 || turn == 1 && start.equals("crashed"));
                continueWith(turn % 2 == 0 ? Kind.JAVA : Kind.broker());
                check(topic, sent, "before turn " + turn);
            }
            assertEquals(oldMessages, describe(old, 0), old + " in turn " + turn);
            addTo(topic, sent, turn);
            check(topic, sent, "in turn " + turn);
        }
        leave(true);
        continueWith(Kind.JAVA);
        check(topic, sent, "at the end");
    }

    @Override
    void connect() throws Exception {
        super.connect();
        pair.awaitRoute("TBW102");
        reader = new StoreReader(pair, startPuller());
    }

    private void leave(boolean kill) {
        shutDownClients();
        if (kill) {
            broker.kill();
        } else {
            broker.stop();
        }
    }

    /** Single messages and batches, large enough that the log rolls. */
    private void addTo(String topic, Map<String, String> sent, int turn) throws Exception {
        Await.until("the route of " + topic, () -> pair.awaitRoute(topic) != null);
        DefaultMQProducer producer = startProducer();
        for (int i = 0; i < 60; i++) {
            String key = "turn" + turn + "-" + i;
            SendResult result = assertSent(producer.send(message(topic, "T", key, text(key)), TO_QUEUE, i % QUEUES));
            sent.put(key, i % QUEUES + "/" + result.getQueueOffset());
        }
        for (int batch = 0; batch < 4; batch++) {
            List<Message> messages = new ArrayList<>();
            for (int i = 0; i < 10; i++) {
                String key = "turn" + turn + "-batch" + batch + "-" + i;
                messages.add(message(topic, "T", key, text(key)));
            }
            int id = batch % QUEUES;
            SendResult result = assertSent(producer.send(messages, queue(topic, id)));
            for (int i = 0; i < messages.size(); i++) {
                sent.put(messages.get(i).getKeys(), id + "/" + (result.getQueueOffset() + i));
            }
        }
    }

    private static String text(String key) {
        return (key + " ").repeat(100);
    }

    /** Every message once and in place, offsets without a gap, every key found. */
    private void check(String topic, Map<String, String> sent, String when) throws Exception {
        Await.until("all messages " + when, () -> {
            long messages = 0;
            for (int id = 0; id < QUEUES; id++) {
                messages += pair.admin.maxOffset(queue(topic, id));
            }
            return messages == sent.size();
        });
        Map<String, String> found = new TreeMap<>();
        for (int id = 0; id < QUEUES; id++) {
            long next = pair.admin.minOffset(queue(topic, id));
            assertEquals(0, next, "minimum of queue " + id + " " + when);
            for (MessageExt message : reader.pull(queue(topic, id), 0, pair.admin.maxOffset(queue(topic, id)))) {
                assertEquals(next++, message.getQueueOffset(), "offsets of queue " + id + " " + when);
                assertEquals(text(message.getKeys()), body(message), when);
                found.put(message.getKeys(), id + "/" + message.getQueueOffset());
            }
        }
        assertEquals(new TreeMap<>(sent), found, when);
        int number = 0;
        for (Map.Entry<String, String> entry : sent.entrySet()) {
            // Of each turn some from the middle, and the last: those an index could miss.
            if (number++ % 23 == 0 || number % 100 > 97) {
                Await.until("the key " + entry.getKey() + " " + when, () -> lookUp(topic, entry.getKey()).contains(entry.getValue()));
                assertEquals(List.of(entry.getValue()), lookUp(topic, entry.getKey()), entry.getKey() + " " + when);
            }
        }
    }

    private List<String> lookUp(String topic, String key) throws Exception {
        try {
            return pair.admin.queryMessage(topic, key, 64, 0, Long.MAX_VALUE).getMessageList().stream()
                .map(message -> message.getQueueId() + "/" + message.getQueueOffset())
                .distinct().collect(Collectors.toList());
        } catch (org.apache.rocketmq.client.exception.MQClientException e) {
            assertEquals(208, e.getResponseCode(), e.getMessage());
            return List.of();
        }
    }

    private List<Map<String, Object>> describe(String topic, int id) throws Exception {
        long end = pair.admin.maxOffset(queue(topic, id));
        return reader.pull(queue(topic, id), pair.admin.minOffset(queue(topic, id)), end).stream()
            .map(StoreReader::describe).collect(Collectors.toList());
    }
}
