package compat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** A NameServer with one broker, and an admin client connected to both. */
final class Pair {
    static final String CLUSTER = "CompatCluster";

    /** Small files, so that the log rolls and every index is exercised; nothing here differs between implementations. */
    static final Map<String, String> SMALL_FILES = Map.of(
        "mappedFileSizeCommitLog", "16777216",
        "mappedFileSizeConsumeQueue", "6000",
        "maxHashSlotNum", "5000",
        "maxIndexNum", "20000");

    private static Pair shared;
    private static Pair strict;

    final Server namesrv;
    final Server broker;
    final DefaultMQAdminExt admin = new DefaultMQAdminExt();

    private Pair(Server namesrv, Server broker) {
        this.namesrv = namesrv;
        this.broker = broker;
    }

    /** The pair that all tests share which neither stop it nor change its configuration. Its broker filters by SQL. */
    static synchronized Pair shared() {
        if (shared == null) {
            shared = start("shared", Map.of("enablePropertyFilter", "true"));
        }
        return shared;
    }

    /** The pair whose broker creates no topics, syncs each message, filters by SQL, and may be stopped and killed: see {@link StrictPair}. */
    static synchronized Pair strict() {
        if (strict == null) {
            strict = start("strict",
                Map.of("autoCreateTopicEnable", "false", "flushDiskType", "SYNC_FLUSH", "enablePropertyFilter", "true"));
        }
        return strict;
    }

    /** A pair of its own, to stop, kill or configure. */
    static Pair start(String name, Map<String, String> brokerConfig) {
        Server namesrv = Server.namesrv(Kind.namesrv(), name + "-namesrv").start();
        Map<String, String> config = new LinkedHashMap<>(SMALL_FILES);
        config.put("brokerClusterName", CLUSTER);
        config.putAll(brokerConfig);
        Server broker = Server.broker(Kind.broker(), name + "-broker", namesrv.address(), config).start();
        return new Pair(namesrv, broker).connected();
    }

    /** A pair made of servers that were started by hand. */
    static Pair of(Server namesrv, Server broker) {
        return new Pair(namesrv, broker).connected();
    }

    String namesrvAddr() {
        return namesrv.address();
    }

    String brokerAddr() {
        return broker.address();
    }

    String brokerName() {
        return broker.config.get("brokerName");
    }

    /** Returns when the NameServer knows the broker at its present address. */
    void awaitRegistered() {
        Await.until(broker.name + " to be registered", () -> admin.examineBrokerClusterInfo().getBrokerAddrTable().values()
            .stream().anyMatch(data -> data.getBrokerAddrs().containsValue(broker.address())));
    }

    /** The queues of a topic as the NameServer reports them, once it does. */
    QueueData awaitRoute(String topic) {
        Await.until("a route of " + topic, () -> route(topic) != null);
        return route(topic).getQueueDatas().get(0);
    }

    private TopicRouteData route(String topic) {
        try {
            TopicRouteData route = admin.examineTopicRouteInfo(topic);
            return route.getQueueDatas().isEmpty() || route.getBrokerDatas().isEmpty() ? null : route;
        } catch (Exception e) {
            return null;
        }
    }

    void dispose() {
        admin.shutdown();
        List.of(broker, namesrv).forEach(Server::dispose);
    }

    private Pair connected() {
        try {
            admin.setNamesrvAddr(namesrv.address());
            admin.setInstanceName("admin-" + broker.name + "-" + System.nanoTime());
            admin.start();
        } catch (Exception e) {
            throw new AssertionError("start the admin client of " + broker.name, e);
        }
        awaitRegistered();
        return this;
    }
}
