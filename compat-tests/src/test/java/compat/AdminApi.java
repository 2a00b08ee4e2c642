package compat;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONWriter;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.GroupList;
import org.apache.rocketmq.remoting.protocol.body.TopicList;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Requests of the admin API that no subcommand of mqadmin sends, asked of an {@link AdminCluster}: each call by name, with its
 * answer as text. See {@link MqAdminConformanceTest}.
 */
final class AdminApi {
    private static final long TIMEOUT = 15_000;

    private final AdminCluster cluster;
    private final DefaultMQAdminExt admin;
    private final MQClientAPIImpl client;
    private final Map<String, Callable<?>> calls = new LinkedHashMap<>();

    AdminApi(AdminCluster cluster) {
        this.cluster = cluster;
        admin = cluster.admin;
        client = admin.getDefaultMQAdminExtImpl().getMqClientInstance().getMQClientAPIImpl();
        String a = cluster.a.address();
        MessageQueue queue = new MessageQueue("Orders", AdminCluster.A, 0);

        calls.put("topic config", () -> admin.examineTopicConfig(a, "Orders"));
        calls.put("topic config of an unknown topic", () -> admin.examineTopicConfig(a, "Nowhere"));
        calls.put("group config", () -> admin.examineSubscriptionGroupConfig(a, "Idle"));
        calls.put("group config of an unknown group", () -> admin.examineSubscriptionGroupConfig(a, "bad!group"));
        calls.put("groups of a topic", () -> admin.queryTopicConsumeByWho("Orders"));
        calls.put("topics of a group", () -> admin.queryTopicsByConsumer("Idle"));
        calls.put("subscription", () -> admin.querySubscription("Online", "Orders"));
        calls.put("subscription of a group that is offline", () -> admin.querySubscription("Idle", "Orders"));
        calls.put("consume time span", () -> admin.queryConsumeTimeSpan("Orders", "Online").size());
        calls.put("consume status", () -> admin.getConsumeStatus("Orders", "Online", ""));
        calls.put("consume status of one client", () -> admin.getConsumeStatus("Orders", "Online", AdminCluster.CONSUMER_ID));
        calls.put("consume status of a group that is offline", () -> admin.getConsumeStatus("Orders", "Idle", ""));
        calls.put("consume stats of a topic", () -> admin.examineConsumeStats("Idle", "Orders").getOffsetTable());
        calls.put("correction offsets", () -> client.queryCorrectionOffset(a, "Orders", "Idle", Set.of("Online"), TIMEOUT));
        calls.put("correction offsets without filter", () -> client.queryCorrectionOffset(a, "Orders", "Idle", Set.of(), TIMEOUT));
        calls.put("forbid a group a topic", () -> admin.updateAndGetGroupReadForbidden(a, "Idle", "Shared", false));
        calls.put("is it forbidden", () -> admin.updateAndGetGroupReadForbidden(a, "Idle", "Shared", null));
        calls.put("allow it again", () -> admin.updateAndGetGroupReadForbidden(a, "Idle", "Shared", true));
        calls.put("clone offsets of a group that is offline", () -> {
            admin.cloneGroupOffset("Idle", "Copied", "Orders", true);
            return admin.examineConsumeStats("Copied", "Orders").getOffsetTable();
        });
        calls.put("clone offsets of a topic that is not there", () -> {
            admin.cloneGroupOffset("Idle", "Copied", "Nowhere", false);
            return "";
        });
        calls.put("earliest store time", () -> admin.earliestMsgStoreTime(queue));
        calls.put("earliest store time of an empty queue", () -> admin.earliestMsgStoreTime(new MessageQueue("Reset", AdminCluster.A, 1)));
        calls.put("offset at a time before all", () -> admin.searchOffset(queue, 0));
        calls.put("lower offset at a time after all", () -> admin.searchLowerBoundaryOffset(queue, Long.MAX_VALUE));
        calls.put("upper offset at a time after all", () -> admin.searchUpperBoundaryOffset(queue, Long.MAX_VALUE));
        calls.put("statistics that do not exist", () -> admin.viewBrokerStatsData(a, "TOPIC_PUT_NUMS", "Nowhere"));
        calls.put("topics of a cluster", () -> admin.fetchTopicsByCLuster(AdminCluster.NAME));
        calls.put("topics of an unknown cluster", () -> admin.fetchTopicsByCLuster("Nowhere"));
        calls.put("system topics at the name server", () -> client.getSystemTopicList(TIMEOUT));
        calls.put("system topics of a broker", () -> client.getSystemTopicListFromBroker(a, TIMEOUT));
        calls.put("unit topics", () -> client.getUnitTopicList(false, TIMEOUT));
        calls.put("topics with a unit subscription", () -> client.getHasUnitSubTopicList(false, TIMEOUT));
        calls.put("topics of no unit with a unit subscription", () -> client.getHasUnitSubUnUnitTopicList(false, TIMEOUT));
        calls.put("order configurations", () -> admin.getKVListByNamespace("NO_SUCH_NAMESPACE"));
        calls.put("a key of the name server", () -> client.getKVConfigValue("NO_SUCH_NAMESPACE", "key", TIMEOUT));
    }

    /** Every answer, by the name of the call. */
    Map<String, String> answers() {
        Map<String, String> answers = new LinkedHashMap<>();
        calls.forEach((name, call) -> answers.put(name, answer(call)));
        return answers;
    }

    private String answer(Callable<?> call) {
        try {
            return Transcript.normalised(text(call.call()) + "\n", cluster.placeholders);
        } catch (MQClientException e) {
            return "! CODE: " + e.getResponseCode() + "\n";
        } catch (MQBrokerException e) {
            return "! CODE: " + e.getResponseCode() + "\n";
        } catch (Exception e) {
            return "! " + e.getClass().getSimpleName() + "\n";
        }
    }

    private static String text(Object answer) {
        if (answer instanceof TopicList topics) {
            return lines(topics.getTopicList());
        }
        if (answer instanceof GroupList groups) {
            return lines(groups.getGroupList());
        }
        if (answer instanceof Map<?, ?> map) {
            Map<String, Object> sorted = new TreeMap<>();
            map.forEach((key, value) -> sorted.put(key.toString(), value instanceof Map ? text(value) : JSON.toJSONString(value)));
            return lines(sorted.entrySet().stream().map(Object::toString).collect(Collectors.toList()));
        }
        return answer instanceof String || answer instanceof Number ? answer.toString()
            : JSON.toJSONString(answer, JSONWriter.Feature.MapSortField, JSONWriter.Feature.PrettyFormat);
    }

    private static String lines(Collection<String> lines) {
        return lines.stream().sorted().collect(Collectors.joining("\n"));
    }
}
