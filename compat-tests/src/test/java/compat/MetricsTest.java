package compat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * After the same workload {@code /metrics} shows the series of the Java broker, with its labels, and its values where the
 * workload decides them: {@code src/test/resources/metrics.txt}, made by a run with {@code -Dmetrics.golden=write}.
 */
@Execution(ExecutionMode.CONCURRENT)
class MetricsTest extends CompatTest {
    private static final Path GOLDEN = Paths.get("src", "test", "resources", "metrics.txt");
    private static final boolean WRITE = "write".equals(System.getProperty("metrics.golden"));
    private static final Duration SETTLE = Await.LIMIT;
    /** Series of the Java broker that ours has otherwise or not, by the beginning of their line. */
    private static final Map<String, String> OTHERWISE = Map.of(
        "rocketmq_processor_watermark{", "one lane instead of a queue for each kind of request",
        "rocketmq_pop_buffer_scan_time_consume_milliseconds", "no pop is merged in memory, so nothing is scanned",
        "rocketmq_messages_out_total{consumer_group=CID_RMQ_SYS_", "what the broker reads for itself",
        "rocketmq_throughput_out_total{consumer_group=CID_RMQ_SYS_", "what the broker reads for itself");

    private final Map<String, String> placeholders = new LinkedHashMap<>();
    private Pair pair;

    @Override
    Pair pair() {
        return pair;
    }

    @AfterEach
    void disposeOfServers() {
        shutDownClients();
        pair.dispose();
    }

    @Test
    void aScrapeShowsWhatItShowsOnTheReference() throws Exception {
        pair = Pair.start("metrics", Map.of("metricsExporterType", "PROM", "enablePropertyFilter", "true", "enableRetryTopicV2", "false"));
        makeTopicsAndGroups();
        consumeSome();
        sendOfEachType();
        endTransactions();
        popSome();
        giveUpOne();

        TreeSet<String> expected = WRITE ? new TreeSet<>() : new TreeSet<>(Files.readAllLines(GOLDEN));
        if (WRITE) {
            Await.pause(SETTLE.toMillis());
            Files.write(GOLDEN, scrape());
            return;
        }
        long deadline = System.nanoTime() + SETTLE.toNanos();
        TreeSet<String> actual = scrape();
        while (!difference(expected, actual).isEmpty() && System.nanoTime() < deadline) {
            Await.pause(500);
            actual = scrape();
        }
        assertEquals("", difference(expected, actual));
    }

    private TreeSet<String> scrape() throws Exception {
        return Scrape.of(pair.broker, placeholders);
    }

    private static String difference(TreeSet<String> expected, TreeSet<String> actual) {
        return lines("- ", expected, actual) + lines("+ ", actual, expected);
    }

    /** What is here and not there. */
    private static String lines(String mark, TreeSet<String> here, TreeSet<String> there) {
        return here.stream().filter(line -> !there.contains(line))
            .filter(line -> Kind.broker() == Kind.JAVA || OTHERWISE.keySet().stream().noneMatch(line.replace("# TYPE ", "")::startsWith))
            .map(line -> mark + line + "\n").collect(Collectors.joining());
    }

    private String named(String prefix, int queues) throws Exception {
        String topic = newTopic(prefix, queues);
        placeholders.put(topic, "{" + prefix + "}");
        return topic;
    }

    private String group(String prefix) {
        String group = unique(prefix);
        placeholders.put(group, "{" + prefix + "}");
        return group;
    }

    /** Some of each that are made, and some that are refused. */
    private void makeTopicsAndGroups() throws Exception {
        SubscriptionGroupConfig made = new SubscriptionGroupConfig();
        made.setGroupName(group("Made"));
        pair.admin.createAndUpdateSubscriptionGroupConfig(pair.brokerAddr(), made);
        made.setGroupName("bad!group");
        assertThrows(MQClientException.class, () -> pair.admin.createAndUpdateSubscriptionGroupConfig(pair.brokerAddr(), made));
        assertThrows(MQClientException.class,
            () -> pair.admin.createAndUpdateTopicConfig(pair.brokerAddr(), new TopicConfig("SCHEDULE_TOPIC_XXXX", 1, 1, 6)));
    }

    /** Groups that consume the first three messages of a topic and keep the rest: by tag, by property, all. */
    private void consumeSome() throws Exception {
        String topic = named("Filtered", 1);
        List<String> groups = List.of(
            keepLate(group("ByTag"), topic, MessageSelector.byTag("A")),
            keepLate(group("BySql"), topic, MessageSelector.bySql("n > 5")),
            keepLate(group("ByAll"), topic, MessageSelector.byTag("*")));
        DefaultMQProducer producer = startProducer();
        for (int n = 10; n < 13; n++) {
            assertSent(producer.send(numbered(topic, "A", "early", n)));
        }
        for (String group : groups) {
            Await.until("what is early to be consumed by " + group, () -> pair.admin.examineConsumeStats(group, topic)
                .getOffsetTable().get(queue(topic, 0)).getConsumerOffset() == 3);
        }
        // The first is wanted by all: a consumer that has nothing in hand commits what it passes over.
        for (int n = 9; n >= 1; n--) {
            assertSent(producer.send(numbered(topic, n >= 5 ? "A" : "B", "late", n)));
        }
    }

    private static Message numbered(String topic, String tag, String body, int number) {
        Message message = message(topic, tag, "k", body);
        message.putUserProperty("n", Integer.toString(number));
        return message;
    }

    /** A consumer that is done with everything but late messages. */
    private String keepLate(String group, String topic, MessageSelector selector) throws Exception {
        CountDownLatch over = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        closeLater(over::countDown);
        consumer.subscribe(topic, selector);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            if (body(messages.get(0)).equals("late")) {
                awaitQuietly(over);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return group;
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void sendOfEachType() throws Exception {
        String topic = named("Typed", 1);
        DefaultMQProducer producer = startProducer();
        assertSent(producer.send(message(topic, "normal")));
        assertSent(producer.send(message(topic, "x".repeat(5_000))));
        assertSent(producer.send(List.of(message(topic, "one"), message(topic, "of a batch"))));
        Message fifo = message(topic, "fifo");
        MessageAccessor.putProperty(fifo, MessageConst.PROPERTY_SHARDING_KEY, "key");
        assertSent(producer.send(fifo));
        Message delayed = message(topic, "delayed");
        delayed.setDelayTimeLevel(1);
        assertSent(producer.send(delayed));
        Message timed = message(topic, "timed");
        timed.setDelayTimeMs(2_000);
        assertSent(producer.send(timed));
        Message waiting = message(topic, "waiting");
        waiting.setDelayTimeSec(1_800);
        assertSent(producer.send(waiting));
        Await.until("what is delayed", () -> pair.admin.maxOffset(queue(topic, 0)) == 7);
    }

    private void endTransactions() throws Exception {
        String topic = named("Transactional", 1);
        Transactions transactions = Transactions.start(this, unique("TxPG"));
        transactions.send(message(topic, "committed"), LocalTransactionState.COMMIT_MESSAGE);
        transactions.send(message(topic, "committed too"), LocalTransactionState.COMMIT_MESSAGE);
        transactions.send(message(topic, "rolled back"), LocalTransactionState.ROLLBACK_MESSAGE);
        transactions.send(message(topic, "open"), LocalTransactionState.UNKNOW);
        Await.until("what is committed", () -> pair.admin.maxOffset(queue(topic, 0)) == 2);
    }

    /** Three messages, of which two are acknowledged and one comes back; and a group that pops and has nothing to. */
    private void popSome() throws Exception {
        String topic = named("Popped", 1);
        sendMany(startProducer(), topic, "m", 3);
        PopClient client = new PopClient(pair, startPuller(), group("Popper"), topic);
        Await.until("what is to be popped", () -> pair.admin.maxOffset(queue(topic, 0)) == 3);
        List<MessageExt> popped = client.pop(8_000);
        assertEquals(3, popped.size());
        assertTrue(client.ack(popped.get(0)) && client.ack(popped.get(1)));

        String quiet = named("Quiet", 1);
        String group = group("QuietPopper");
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        pair.admin.createAndUpdateSubscriptionGroupConfig(pair.brokerAddr(), config);
        pair.admin.setMessageRequestMode(pair.brokerAddr(), quiet, group, MessageRequestMode.POP, 0, 5_000);
        DefaultMQPushConsumer consumer = newConsumer(group, quiet, "*");
        consumer.setClientRebalance(false);
        consumer.registerMessageListener((MessageListenerConcurrently) new Received()::accept);
        consumer.start();
    }

    /** A message that its group does not want again. */
    private void giveUpOne() throws Exception {
        String topic = named("GivenUp", 1);
        DefaultMQPushConsumer consumer = newConsumer(group("Giver"), topic, "*");
        consumer.setMaxReconsumeTimes(0);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.RECONSUME_LATER);
        consumer.start();
        assertSent(startProducer().send(message(topic, "bad")));
    }
}
