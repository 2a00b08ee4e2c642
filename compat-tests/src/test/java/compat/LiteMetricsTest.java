package compat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.lite.LiteSubscriptionAction;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.remoting.protocol.header.PopLiteMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** With {@code liteLag...} keys, {@code /metrics} shows how far groups are behind in light topics, under the parent topic. */
class LiteMetricsTest extends CompatTest {
    private static Pair pair;

    @BeforeAll
    static void start() {
        pair = Pair.start("lite-metrics", Map.of("enableLmq", "true", "enableMultiDispatch", "true", "metricsExporterType", "PROM",
            "liteLagCountMetricsEnable", "true", "liteLagLatencyMetricsEnable", "true", "liteLagLatencyCollectEnable", "true"));
    }

    @AfterAll
    static void stop() {
        pair.dispose();
    }

    @Override
    Pair pair() {
        return pair;
    }

    @Test
    void theLagInLightTopicsIsShownUnderTheirParent() throws Exception {
        String topic = unique("LiteLag");
        String group = unique("LiteLagCG");
        TopicConfig config = new TopicConfig(topic, 1, 1, 6);
        config.setAttributes(Map.of("+message.type", "LITE"));
        pair.admin.createAndUpdateTopicConfig(pair.brokerAddr(), config);
        pair.awaitRoute(topic);
        SubscriptionGroupConfig bound = new SubscriptionGroupConfig();
        bound.setGroupName(group);
        bound.getAttributes().put("+lite.bind.topic", topic);
        pair.admin.createAndUpdateSubscriptionGroupConfig(pair.brokerAddr(), bound);
        LiteClient client = new LiteClient(pair, startPuller(), "lag", group, topic);
        client.subscribe(LiteSubscriptionAction.PARTIAL_ADD, "a", "b");
        DefaultMQProducer producer = startProducer();
        for (int n = 0; n < 3; n++) {
            send(producer, topic, "a", n);
        }
        assertEquals(List.of(), lagOf(group, topic), "no offset, no lag");

        // A pop that leaves some behind.
        PopLiteMessageRequestHeader one = client.header(600_000, 1);
        Await.until("one message", () -> client.pop(one).get().size() == 1);
        send(producer, topic, "b", 0);
        assertEquals(List.of("rocketmq_consumer_lag_latency_milliseconds {figure}", "rocketmq_consumer_lag_messages 3",
            "rocketmq_consumer_ready_messages 3"), lagOf(group, topic));
        client.subscribe(LiteSubscriptionAction.COMPLETE_REMOVE);
    }

    private static void send(DefaultMQProducer producer, String topic, String liteTopic, int number) throws Exception {
        Message message = message(topic, liteTopic + number);
        MessageAccessor.putProperty(message, MessageConst.PROPERTY_LITE_TOPIC, liteTopic);
        assertSent(producer.send(message));
        Await.until("its queue", () ->
            pair.admin.getLiteTopicInfo(pair.brokerAddr(), topic, liteTopic).getTopicOffset().getMaxOffset() > number);
    }

    /** The series of a group: name and value. */
    private static List<String> lagOf(String group, String topic) throws Exception {
        TreeSet<String> series = Scrape.of(pair.broker, new LinkedHashMap<>());
        String labels = "{consumer_group=" + group + " is_retry=false is_system=false topic=" + topic + "}";
        return series.stream().filter(line -> line.startsWith("rocketmq_consumer_") && line.contains(labels))
            .map(line -> line.replace(labels, "")).collect(Collectors.toList());
    }
}
