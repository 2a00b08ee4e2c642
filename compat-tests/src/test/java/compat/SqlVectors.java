package compat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.StringJoiner;
import org.apache.rocketmq.broker.filter.MessageEvaluationContext;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.Expression;

/**
 * Generated SQL92 expressions, and what the reference's own evaluator makes of them for a list of messages.
 *
 * <pre>
 *   m TAB properties                    a message; 0x01 and 0x02 written as = and ;
 *   e TAB outcomes TAB expression       a letter a message: T true, F false, N null, E fails; X alone: does not compile
 * </pre>
 */
final class SqlVectors {
    /** Where the Rust test reads them. */
    static final Path FILE = Path.of("..", "broker", "tests", "data", "sql92-vectors.txt");

    private static final int EXPRESSIONS = 2_000;
    private static final int MESSAGES = 40;
    private static final String[] NAMES = {"a", "b", "c", "A", "_x$1", "missing"};
    private static final String[] VALUES = {
        "5", "-5", "+5", "05", "5.0", "5.", ".5", "5.5", "0", "-0.0", "1e3", "1E400", "5d", "5f", "5L", " 5 ", "NaN", "Infinity", "inf",
        "2147483647", "2147483648", "-2147483648", "9223372036854775807", "9223372036854775808", "abc", "abcabc", "ABC", "it's", "true",
        "TRUE", "True", "false", "yes", "null", "", " ", "é", "中文", "a b", "--", "%"};
    private static final String[] NUMBERS = {
        "5", "5", "5", "0", "0", "1", "1", "5L", "5l", "2147483647", "2147483648", "9223372036854775807", "5.0", "5.", ".5", "5.5", "5e0", "1E3",
        "4.9e-324", "00.5", "3000000000", "3000000000"};
    /** Out of range, or two words. */
    private static final String[] BAD_NUMBERS = {"05", "0L", "9223372036854775808", "1e400", "0.0", "1e-400"};
    private static final String[] TEXTS = {
        "'5'", "'abc'", "'a'", "''", "'it''s'", "''''", "'true'", "'TRUE'", "'5.0'", "'c'", "'é'", "'中文'", "'a b'", "'null'", "' '"};
    /** Put into an expression where they do not belong. */
    private static final String[] NOISE = {
        "(", ")", ",", "=", "<>", "!=", "==", "<", ">", "AND", "OR", "NOT", "IS", "NULL", "IN", "BETWEEN", "LIKE", "CONTAINS", "'", "\"", "-",
        "+", "*", "/", ".", "#", "--", "/* c */", "-- c\n", "/*", "1", "'x'", "a", "TRUE", "\t", "\n", "§"};

    private final Random random;

    private SqlVectors(long seed) {
        random = new Random(seed);
    }

    static String text() {
        SqlVectors vectors = new SqlVectors(92);
        StringBuilder text = new StringBuilder();
        List<Map<String, String>> messages = new ArrayList<>();
        for (int i = 0; i < MESSAGES; i++) {
            String properties = MessageDecoder.messageProperties2String(vectors.message());
            text.append("m\t").append(properties.replace('\1', '=').replace('\2', ';')).append('\n');
            messages.add(MessageDecoder.string2messageProperties(properties));
        }
        for (int i = 0; i < EXPRESSIONS; i++) {
            String expression = vectors.expression();
            String shown = expression.replace("\n", "\\n").replace("\t", "\\t");
            text.append("e\t").append(outcomes(expression, messages)).append('\t').append(shown).append('\n');
        }
        return text.toString();
    }

    private static String outcomes(String expression, List<Map<String, String>> messages) {
        Expression compiled;
        try {
            compiled = FilterFactory.INSTANCE.get(ExpressionType.SQL92).compile(expression);
        } catch (Throwable refused) {
            return "X";
        }
        StringBuilder outcomes = new StringBuilder();
        for (Map<String, String> message : messages) {
            outcomes.append(outcome(compiled, message));
        }
        return outcomes.toString();
    }

    private static char outcome(Expression compiled, Map<String, String> message) {
        try {
            Object value = compiled.evaluate(new MessageEvaluationContext(message));
            return value == null ? 'N' : (Boolean) value ? 'T' : 'F';
        } catch (Throwable fails) {
            return 'E';
        }
    }

    private Map<String, String> message() {
        Map<String, String> properties = new LinkedHashMap<>();
        for (String name : NAMES) {
            if (!name.equals("missing") && random.nextInt(5) > 0) {
                properties.put(name, any(VALUES));
            }
        }
        return properties;
    }

    /** One in six is damaged. */
    private String expression() {
        String expression = condition(3);
        if (random.nextInt(6) > 0) {
            return expression;
        }
        String[] words = expression.split(" ");
        StringJoiner damaged = new StringJoiner(" ");
        int place = random.nextInt(words.length);
        boolean replaces = random.nextBoolean();
        for (int i = 0; i < words.length; i++) {
            if (i == place) {
                damaged.add(any(NOISE));
            }
            if (i != place || !replaces) {
                damaged.add(words[i]);
            }
        }
        return damaged.toString();
    }

    private String condition(int depth) {
        if (depth == 0 || random.nextInt(3) == 0) {
            return comparison(depth);
        }
        return switch (random.nextInt(6)) {
            case 0 -> "NOT " + condition(depth - 1);
            case 1 -> "( " + condition(depth - 1) + " )";
            case 2 -> "NOT ( " + condition(depth - 1) + " )";
            case 3, 4 -> condition(depth - 1) + " AND " + condition(depth - 1);
            default -> condition(depth - 1) + cased(" OR ") + condition(depth - 1);
        };
    }

    private String comparison(int depth) {
        return switch (random.nextInt(12)) {
            case 0, 1 -> operand(depth) + " = " + operand(depth);
            case 2 -> operand(depth) + " <> " + operand(depth);
            case 3, 4 -> name() + " " + any("<", "<=", ">", ">=") + " " + mostly(number(), operand(depth));
            case 5 -> mostly(number(), operand(depth)) + " " + any("<", "<=", ">", ">=") + " " + name();
            case 6 -> operand(depth) + cased(any(" IS NULL", " IS NOT NULL"));
            case 7 -> name() + not() + cased(" BETWEEN ") + number() + " AND " + mostly(number(), operand(depth));
            case 8, 9 -> mostly(name(), operand(depth)) + not() + cased(" IN ") + "( " + texts() + " )";
            case 10 -> operand(depth) + not() + " " + cased(any("CONTAINS", "STARTSWITH", "ENDSWITH")) + " " + any(TEXTS);
            default -> mostly(name(), any(operand(depth), cased(any("TRUE", "FALSE", "NULL"))));
        };
    }

    private String operand(int depth) {
        int kind = random.nextInt(depth > 0 ? 12 : 10);
        return switch (kind) {
            case 0, 1, 2, 3, 4 -> name();
            case 5, 6 -> number();
            case 7, 8 -> any(TEXTS);
            case 9 -> cased(mostly(any("TRUE", "FALSE"), "NULL"));
            case 10 -> any("- ", "+ ", "-", "NOT ") + operand(depth - 1);
            default -> "( " + condition(depth - 1) + " )";
        };
    }

    private String number() {
        return any("", "", "", "-", "+", "- -") + mostly(any(NUMBERS), mostly(any(NUMBERS), any(BAD_NUMBERS)));
    }

    private String name() {
        return any(NAMES);
    }

    private String not() {
        return any("", cased(" NOT"));
    }

    private String texts() {
        StringJoiner texts = new StringJoiner(" , ");
        for (int count = 1 + random.nextInt(7); count > 0; count--) {
            texts.add(any(TEXTS));
        }
        return texts.toString();
    }

    private String cased(String word) {
        return random.nextInt(4) > 0 ? word : word.toLowerCase();
    }

    /** The second one time in eight. */
    private String mostly(String usual, String rare) {
        return random.nextInt(8) > 0 ? usual : rare;
    }

    private String any(String... candidates) {
        return candidates[random.nextInt(candidates.length)];
    }
}
