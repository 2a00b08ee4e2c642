package compat;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * What a series of commands printed, without what differs from run to run: addresses, paths, ids, times.
 *
 * <pre>
 * $ topicRoute -t Nowhere
 * ! MQClientException CODE: 17
 * </pre>
 */
final class Transcript {
    private static final String PROMPT = "$ ";
    private static final Pattern CODE = Pattern.compile("CODE: (\\d+)");
    private static final Pattern EXCEPTION = Pattern.compile("(?m)^(?:Caused by: )?[\\w.$]*?(\\w+(?:Exception|Error))\\b");

    private Transcript() {
    }

    /** The sections of a transcript, by command line in order. */
    static Map<String, String> sections(String text) {
        Map<String, String> sections = new LinkedHashMap<>();
        for (String section : text.split("(?m)^\\$ ")) {
            int end = section.indexOf('\n');
            if (end >= 0) {
                sections.put(section.substring(0, end), section.substring(end + 1));
            }
        }
        return sections;
    }

    static String of(Map<String, String> sections) {
        return sections.entrySet().stream().map(entry -> PROMPT + entry.getKey() + "\n" + entry.getValue())
            .collect(Collectors.joining());
    }

    /** What a command printed, and how it failed. */
    static String normalised(MqAdmin.Output output, Map<String, String> placeholders) {
        return normalised(output.out, placeholders) + failure(output.err);
    }

    static String normalised(String text, Map<String, String> placeholders) {
        String result = text;
        for (Map.Entry<String, String> placeholder : placeholders.entrySet()) {
            result = result.replace(placeholder.getValue(), placeholder.getKey());
        }
        result = result
            // An id has 32 digits where the host has an IPv4 address, 56 where it has only an IPv6 one; records are as much longer.
            .replaceAll("\\b[0-9A-F]{32}([0-9A-F]{24})?\\b", "{id}")
            .replaceAll("@[0-9a-f]{6,8}\\b", "@{hash}")
            .replaceAll("(storeSize=|commitLogOffset=|physicOffset=|physicSize=|CommitLog Offset: *|@)\\d+(?![\\d.@])", "$1{figure}")
            .replaceAll("\\b20\\d{12}(\\d{3})?\\b", "{time}")
            .replaceAll("\\b\\d{4}-\\d\\d-\\d\\d[ #T]\\d\\d:\\d\\d:\\d\\d([,.:]\\d{3})?", "{time}")
            .replaceAll("\\b1[789]\\d{11}\\b", "{ms}")
            .replaceAll("/?127\\.0\\.0\\.1:\\d+", "{port}");
        return lines(result.lines().map(line -> line.replaceAll("\\s+", " ").stripTrailing()).collect(Collectors.toList()));
    }

    /** JSON with its keys in order and one value a line. */
    static String pretty(String json) {
        return JSON.toJSONString(JSON.parse(json), JSONWriter.Feature.MapSortField, JSONWriter.Feature.PrettyFormat,
            JSONWriter.Feature.WriteMapNullValue).replace("\t", " ") + "\n";
    }

    static String sorted(String section) {
        return lines(section.lines().sorted().collect(Collectors.toList()));
    }

    /** The innermost exceptions tell most; their texts differ where a Java class of the server shows through. */
    private static String failure(String err) {
        Matcher exception = EXCEPTION.matcher(err);
        List<String> names = new ArrayList<>();
        while (exception.find()) {
            names.add(exception.group(1));
        }
        if (names.isEmpty()) {
            return "";
        }
        Matcher code = CODE.matcher(err);
        return "! " + names.get(names.size() - 1) + (code.find() ? " " + code.group() : "") + "\n";
    }

    private static String lines(List<String> lines) {
        return lines.stream().map(line -> line + "\n").collect(Collectors.joining());
    }

    /** The first lines that differ, for a report. */
    static String difference(String expected, String actual) {
        List<String> want = expected.lines().collect(Collectors.toList());
        List<String> got = actual.lines().collect(Collectors.toList());
        StringBuilder report = new StringBuilder();
        List<String> missing = new ArrayList<>(want);
        got.forEach(missing::remove);
        List<String> surplus = new ArrayList<>(got);
        want.forEach(surplus::remove);
        missing.stream().limit(12).forEach(line -> report.append("      - ").append(line).append('\n'));
        surplus.stream().limit(12).forEach(line -> report.append("      + ").append(line).append('\n'));
        return report.length() == 0 ? "      the same lines in another order\n" : report.toString();
    }
}
