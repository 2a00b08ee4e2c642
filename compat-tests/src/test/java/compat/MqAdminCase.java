package compat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * How one subcommand of mqadmin is tried: the command lines, and what in their output may differ between two runs.
 *
 * <p>A line that starts with {@code ~} only looks, so it is repeated until it shows what it should.
 */
final class MqAdminCase {
    /** Cases of one stage run side by side, the stages one after another. */
    enum Stage { FIRST, LOOK, CHANGE, ALONE, LAST }

    final String name;
    final Stage stage;
    final List<String> commands;
    private final List<UnaryOperator<String>> shapes = new ArrayList<>();
    private String directory;
    int endlessLines;

    private MqAdminCase(String name, Stage stage, List<String> commands) {
        this.name = name;
        this.stage = stage;
        this.commands = commands;
    }

    /** A subcommand that changes nothing: all its lines may be repeated. */
    static MqAdminCase looks(Stage stage, String name, String... arguments) {
        List<String> commands = Stream.of(arguments).map(line -> "~ " + (name + " " + line).trim()).collect(Collectors.toList());
        return new MqAdminCase(name, stage, commands);
    }

    static MqAdminCase looks(String name, String... arguments) {
        return looks(Stage.LOOK, name, arguments);
    }

    /** A subcommand that changes something, with whole command lines: others may show what it did. */
    static MqAdminCase changes(Stage stage, String name, String... commands) {
        return new MqAdminCase(name, stage, List.of(commands));
    }

    static MqAdminCase changes(String name, String... commands) {
        return changes(Stage.CHANGE, name, commands);
    }

    /** The order of the lines means nothing. */
    MqAdminCase sorted() {
        return shaped(Transcript::sorted);
    }

    /** What matches is another figure each time. */
    MqAdminCase mask(String regex, String replacement) {
        return shaped(text -> text.replaceAll(regex, replacement));
    }

    /** Whole lines that match are left out. */
    MqAdminCase without(String regex) {
        return shaped(text -> text.replaceAll("(?m)^.*(" + regex + ").*\\n", ""));
    }

    /** Only lines that match count. */
    MqAdminCase only(String regex) {
        return shaped(text -> text.replaceAll("(?m)^(?!.*(" + regex + ")).*\\n", ""));
    }

    /** Figures with a decimal point: rates and times. */
    MqAdminCase decimals() {
        return mask("(?<![\\d.])\\d+\\.\\d+(E-?\\d+)?(?![\\d.])", "{decimal}");
    }

    /** The files that the commands write to this directory count, too. */
    MqAdminCase files(String directory) {
        this.directory = directory;
        return this;
    }

    /** The command ends only when it is stopped, here after so many lines. */
    MqAdminCase endless(int lines) {
        endlessLines = lines;
        return this;
    }

    private MqAdminCase shaped(UnaryOperator<String> shape) {
        shapes.add(shape);
        return this;
    }

    String shape(String text) {
        String result = text;
        for (UnaryOperator<String> shape : shapes) {
            result = shape.apply(result);
        }
        return result;
    }

    /** What stands in the files of this case, pretty where it is JSON. */
    String written(Path work) throws IOException {
        if (directory == null || !Files.exists(work.resolve(directory))) {
            return "";
        }
        StringBuilder text = new StringBuilder();
        try (Stream<Path> files = Files.walk(work.resolve(directory)).filter(Files::isRegularFile).sorted()) {
            for (Path file : files.collect(Collectors.toList())) {
                String content = Files.readString(file);
                text.append("-- ").append(work.relativize(file)).append('\n')
                    .append(file.toString().endsWith(".json") ? Transcript.pretty(content) : content);
            }
        }
        return text.toString();
    }
}
