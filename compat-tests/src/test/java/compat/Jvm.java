package compat;

import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;

/** Command lines of child JVMs, which share the class path of this one. */
final class Jvm {
    private Jvm() {
    }

    static List<String> command(String main, String heap, List<String> options, List<String> arguments) {
        List<String> command = new ArrayList<>();
        command.add(Paths.get(System.getProperty("java.home"), "bin", "java").toString());
        // Short-lived processes on few cores: the quick compiler and the collector without threads start fastest.
        command.addAll(List.of("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms64m", "-Xmx" + heap));
        command.addAll(options);
        command.addAll(List.of("-cp", System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"))));
        command.add(main);
        command.addAll(arguments);
        return command;
    }
}
