package compat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.lite.LiteSubscriptionAction;
import org.apache.rocketmq.remoting.protocol.header.PopLiteMessageRequestHeader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** With {@code liteLag...} keys, {@code /metrics} shows how far groups are behind in light topics, under the parent topic. */
class LiteMetricsTest extends CompatTest {
    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("lite-metrics", Map.of("enableLmq", "true", "enableMultiDispatch", "true", "metricsExporterType", "PROM",
        "liteLagCountMetricsEnable", "true", "liteLagLatencyMetricsEnable", "true", "liteLagLatencyCollectEnable", "true"));

    @Override
    Pair pair() {
        return SERVERS.pair();
    }

    @Test
    void theLagInLightTopicsIsShownUnderTheirParent() throws Exception {
        String topic = unique("LiteLag");
        String group = unique("LiteLagCG");
        LiteClient client = new LiteClient(pair(), startPuller(), "lag", group, topic);
        client.createTopicAndGroup();
        client.subscribe(LiteSubscriptionAction.PARTIAL_ADD, "a", "b");
        DefaultMQProducer producer = startProducer();
        for (int n = 0; n < 3; n++) {
            LiteClient.send(pair(), producer, topic, "a-" + n);
        }
        assertEquals(List.of(), lagOf(group, topic), "no offset, no lag");

        // A pop that leaves some behind.
        PopLiteMessageRequestHeader one = client.header(600_000, 1);
        Await.until("one message", () -> client.pop(one).get().size() == 1);
        LiteClient.send(pair(), producer, topic, "b-0");
        assertEquals(List.of("rocketmq_consumer_lag_latency_milliseconds {figure}", "rocketmq_consumer_lag_messages 3",
            "rocketmq_consumer_ready_messages 3"), lagOf(group, topic));
        client.subscribe(LiteSubscriptionAction.COMPLETE_REMOVE);
    }

    /** The series of a group: name and value. */
    private static List<String> lagOf(String group, String topic) throws Exception {
        TreeSet<String> series = Scrape.of(SERVERS.pair().broker, new LinkedHashMap<>());
        String labels = "{consumer_group=" + group + " is_retry=false is_system=false topic=" + topic + "}";
        return series.stream().filter(line -> line.startsWith("rocketmq_consumer_") && line.contains(labels))
            .map(line -> line.replace(labels, "")).collect(Collectors.toList());
    }
}
