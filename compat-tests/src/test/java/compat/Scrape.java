package compat;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * What {@code /metrics} of a broker says, without what differs from run to run: one line a series, in order, with labels in
 * order, and with its value where the workload decides it.
 *
 * <pre>
 * # TYPE rocketmq_messages_in_total counter
 * rocketmq_messages_in_total{is_system=false message_type=normal topic={topic}} 3
 * rocketmq_throughput_in_total{is_system=false message_type=normal topic={topic}} {figure}
 * </pre>
 */
final class Scrape {
    private static final Pattern SERIES = Pattern.compile("(\\w+)(?:\\{(.*)})? (\\S+)");
    private static final Pattern LABEL = Pattern.compile("(\\w+)=\"((?:[^\"\\\\]|\\\\.)*)\"");
    /** OpenTelemetry's own, and what names the broker. */
    private static final Set<String> LABELS_LEFT_OUT = Set.of("otel_scope_name", "otel_scope_version", "cluster", "node_id", "node_type");
    private static final Set<String> METRICS_LEFT_OUT = Set.of("target_info", "otel_scope_info");
    /** Times, sizes, and counts of what a broker does for itself: the Java broker reads acks again and again, for example. */
    private static final Pattern FIGURES = Pattern.compile("rocketmq_(throughput|storage|processor|topic_number|consumer_group_number"
        + "|producer_connections|pop_buffer_scan|pop_revive_lag|pop_revive_out|timer_enqueue_latency|timer_dequeue_latency|timer_dequeue_lag"
        + "|(topic|consumer_group)_create_execution_time_milliseconds_bucket|finish_message_latency_milliseconds_bucket).*"
        + "|.*(_sum|_latency_milliseconds)");
    /** By which requests the workload came about is a matter of timing: only the names of the labels count. */
    private static final String BY_LABEL_NAMES = "rocketmq_rpc_latency_milliseconds";

    private Scrape() {
    }

    /** {@code placeholders} are values of labels and what stands for them. */
    static TreeSet<String> of(Server broker, Map<String, String> placeholders) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(broker.metricsUrl())).timeout(Duration.ofSeconds(20)).build();
        HttpResponse<String> response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        return response.body().lines().filter(line -> !line.startsWith("# HELP") && !line.startsWith("# EOF"))
            .map(line -> line.startsWith("#") ? type(line) : series(line, placeholders))
            .filter(line -> !line.isEmpty()).collect(Collectors.toCollection(TreeSet::new));
    }

    private static String type(String line) {
        return METRICS_LEFT_OUT.contains(line.split(" ")[2]) ? "" : line;
    }

    private static String series(String line, Map<String, String> placeholders) {
        Matcher series = SERIES.matcher(line);
        if (!series.lookingAt() || METRICS_LEFT_OUT.contains(series.group(1))) {
            return "";
        }
        String name = series.group(1);
        Map<String, String> labels = labels(series.group(2) == null ? "" : series.group(2), placeholders);
        boolean byNames = name.startsWith(BY_LABEL_NAMES);
        String text = labels.entrySet().stream()
            .map(label -> byNames && !label.getKey().equals("le") ? label.getKey() : label.getKey() + "=" + label.getValue())
            .collect(Collectors.joining(" "));
        boolean isFigure = byNames || FIGURES.matcher(name).matches() || "true".equals(labels.get("is_system"));
        return name + "{" + text + "} " + (isFigure ? "{figure}" : number(series.group(3)));
    }

    private static Map<String, String> labels(String text, Map<String, String> placeholders) {
        Map<String, String> labels = new TreeMap<>();
        Matcher label = LABEL.matcher(text);
        while (label.find()) {
            if (!LABELS_LEFT_OUT.contains(label.group(1))) {
                labels.put(label.group(1), replaced(label.group(2), placeholders));
            }
        }
        return labels;
    }

    private static String replaced(String value, Map<String, String> placeholders) {
        String result = value;
        for (Map.Entry<String, String> placeholder : new LinkedHashMap<>(placeholders).entrySet()) {
            result = result.replace(placeholder.getKey(), placeholder.getValue());
        }
        return result;
    }

    private static String number(String text) {
        double value = Double.parseDouble(text);
        return value == Math.rint(value) ? Long.toString((long) value) : text;
    }
}
