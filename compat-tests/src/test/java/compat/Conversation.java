package compat;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RemotingClient;
import org.apache.rocketmq.remoting.exception.RemotingTimeoutException;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

import static org.junit.jupiter.api.Assertions.assertEquals;

/**
 * Requests over the stock client's connection that its own API would not send, what each is answered, and what the broker stored.
 * The whole is compared with what the Java broker answered: {@code src/test/resources/odd/NAME.txt}, made by a run with
 * {@code -Dodd.golden=write}.
 *
 * <pre>
 * $ a send to a queue that is not there
 * 29 request queueId[99] is illegal
 * </pre>
 *
 * Where the Java broker runs into an exception, any refusal counts, and where it gives no reason, any reason; where ours differs for a reason, {@link #otherwise} has it.
 */
final class Conversation {
    private static final Path GOLDEN = Paths.get("src", "test", "resources", "odd");
    private static final boolean WRITE = "write".equals(System.getProperty("odd.golden"));
    private static final String EXCEPTION = "{exception}";
    private static final long TIMEOUT = 15_000;
    /** Properties that differ from run to run, or that every message gets. */
    private static final List<String> UNINTERESTING = List.of(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX,
        MessageConst.PROPERTY_MSG_REGION, MessageConst.PROPERTY_TRACE_SWITCH, MessageConst.PROPERTY_CLUSTER,
        MessageConst.PROPERTY_MIN_OFFSET, MessageConst.PROPERTY_MAX_OFFSET, "__transactionId__");

    /** Fields of answers that are there or not, and differ. Queues of the broker's own have messages of other tests, too. */
    private static final List<String> MASKED = List.of("queueOffset", "recallHandle", "popTime", "reviveQid");

    private static final List<Integer> REFUSALS = List.of(ResponseCode.SYSTEM_ERROR, ResponseCode.MESSAGE_ILLEGAL,
        ResponseCode.NO_PERMISSION, ResponseCode.TOPIC_NOT_EXIST, ResponseCode.QUERY_NOT_FOUND, ResponseCode.SUBSCRIPTION_PARSE_FAILED,
        ResponseCode.SUBSCRIPTION_NOT_EXIST, ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, ResponseCode.INVALID_PARAMETER,
        ResponseCode.NO_MESSAGE, ResponseCode.ILLEGAL_OPERATION);

    private final String name;
    private final Pair pair;
    private final DefaultMQPullConsumer puller;
    private final RemotingClient client;
    private final Map<String, String> placeholders = new LinkedHashMap<>();
    private final Map<String, String> sections = new LinkedHashMap<>();
    private final Map<String, String> otherwise = new LinkedHashMap<>();

    Conversation(String name, Pair pair, DefaultMQPullConsumer started) {
        this.name = name;
        this.pair = pair;
        puller = started;
        MQClientInstance instance = started.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
        client = instance.getMQClientAPIImpl().getRemotingClient();
        // A request without an answer is noted as that. A client that closes the connection then may still write the next request to it.
        instance.getNettyClientConfig().setClientCloseSocketIfTimeout(false);
        placeholders.put("{broker}", pair.brokerName());
        placeholders.put("{address}", pair.brokerAddr());
    }

    /** Ours does something else in these sections, and why. */
    void otherwise(String reason, String... of) {
        List.of(of).forEach(section -> otherwise.put(section, reason));
    }

    /** Sends a request, notes its answer, and gives it: null when there was none. */
    RemotingCommand ask(String section, int code, Map<String, ?> fields, byte[] body) throws Exception {
        return ask(section, code, fields, body, TIMEOUT);
    }

    RemotingCommand ask(String section, int code, Map<String, ?> fields, byte[] body, long timeoutMillis) throws Exception {
        RemotingCommand answer = null;
        try {
            answer = client.invokeSync(pair.brokerAddr(), request(code, fields, body), timeoutMillis);
        } catch (RemotingTimeoutException none) {
            // Noted as such.
        }
        note(section, answer == null ? "no answer" : text(answer));
        return answer;
    }

    /** Asks for a body of JSON, and notes it. */
    void body(String section, int code, Map<String, ?> fields, byte[] body) throws Exception {
        RemotingCommand answer = client.invokeSync(pair.brokerAddr(), request(code, fields, body), TIMEOUT);
        byte[] json = answer.getBody();
        note(section, text(answer) + (json == null ? "" : "\n" + Transcript.pretty(new String(json, StandardCharsets.UTF_8))));
    }

    /** Whether a request is refused; nothing is noted. */
    boolean refuses(int code, Map<String, ?> fields, byte[] body) throws Exception {
        return client.invokeSync(pair.brokerAddr(), request(code, fields, body), TIMEOUT).getCode() != ResponseCode.SUCCESS;
    }

    private static RemotingCommand request(int code, Map<String, ?> fields, byte[] body) {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        fields.forEach((field, value) -> request.addExtField(field, String.valueOf(value)));
        request.setBody(body);
        return request;
    }

    private static String text(RemotingCommand answer) {
        // What a Java broker leaves there when it sets nothing.
        String remark = answer.getRemark() == null || answer.getRemark().equals("not set any response code") ? "" : answer.getRemark();
        if (remark.matches("(?s)[\\w.$]+(Exception|Error)\\b.*")) {
            return EXCEPTION;
        }
        StringBuilder text = new StringBuilder().append(answer.getCode()).append(' ').append(remark.lines().findFirst().orElse(""));
        Map<String, String> fields = new TreeMap<>(answer.getExtFields() == null ? Map.of() : answer.getExtFields());
        fields.keySet().removeAll(UNINTERESTING);
        if (REFUSALS.contains(answer.getCode())) {
            // A Java broker sends its header's zeros with a refusal.
            fields.keySet().retainAll(List.of("forbiddenType"));
        }
        fields.replaceAll((field, value) -> MASKED.contains(field) ? "..." : value);
        fields.forEach((field, value) -> text.append("\n  ").append(field).append('=').append(value));
        return text.toString();
    }

    /** Notes something that was found out. */
    void note(String section, String text) {
        String before = sections.put(section, Transcript.normalised(text.replaceAll("(by offset failed, |by the offset, )\\d{2,9}\\b", "$1{figure}")
            .replaceAll("invisibleTime=6\\d{5}\\b", "invisibleTime={ten minutes}"), placeholders));
        assertEquals(null, before, "a second section " + section);
    }

    /** Notes the messages of a queue that have one of these bodies. */
    List<MessageExt> stored(String section, String topic, int queueId, Set<String> bodies) throws Exception {
        MessageQueue queue = new MessageQueue(topic, pair.brokerName(), queueId);
        List<MessageExt> messages = new StoreReader(pair, puller).pull(queue, 0, pair.admin.maxOffset(queue)).stream()
            .filter(message -> bodies.contains(CompatTest.body(message))).collect(Collectors.toList());
        note(section, messages.stream().map(Conversation::text).sorted().collect(Collectors.joining("\n")));
        return messages;
    }

    private static String text(MessageExt message) {
        Map<String, String> properties = new TreeMap<>(message.getProperties());
        properties.keySet().removeAll(UNINTERESTING);
        return CompatTest.body(message) + ": flag " + message.getFlag() + ", sysFlag " + message.getSysFlag()
            + ", reconsumeTimes " + message.getReconsumeTimes() + ", " + properties;
    }

    /** Compares all with what the Java broker answered. */
    void compare() throws Exception {
        Path golden = GOLDEN.resolve(name + ".txt");
        if (WRITE) {
            Files.createDirectories(GOLDEN);
            Files.writeString(golden, Transcript.of(sections));
            return;
        }
        Map<String, String> expected = Transcript.sections(Files.readString(golden));
        StringBuilder report = new StringBuilder();
        TreeSet<String> names = new TreeSet<>(expected.keySet());
        names.addAll(sections.keySet());
        for (String section : names) {
            String wanted = expected.getOrDefault(section, "");
            String actual = sections.getOrDefault(section, "");
            if (!isSame(section, wanted, actual)) {
                report.append("$ ").append(section).append('\n').append(Transcript.difference(wanted, actual));
            }
        }
        otherwise.keySet().stream().filter(section -> !names.contains(section)).forEach(section -> report.append("no section ").append(section).append('\n'));
        assertEquals("", report.toString());
    }

    private boolean isSame(String section, String wanted, String actual) {
        if (wanted.startsWith(EXCEPTION)) {
            return actual.startsWith(EXCEPTION) || !actual.startsWith("0 ");
        }
        // Ours may say why behind the words of the reference, or where that has none.
        String words = wanted.strip();
        if (wanted.matches("[1-9].*\n") && actual.startsWith(words) && actual.matches("\\d+ [^\n]*\n")
            && (words.matches("\\d+") || actual.startsWith(words + " Here: "))) {
            return true;
        }
        return wanted.equals(actual) || Kind.broker() == Kind.RUST && otherwise.containsKey(section);
    }
}
