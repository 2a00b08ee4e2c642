package compat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.ResourceLock;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * Every subcommand of the stock mqadmin, run against a cluster of two brokers with the same contents, prints what it prints
 * against the Java servers: {@code src/test/resources/mqadmin/NAME.txt}, made by a run with {@code -Dmqadmin.golden=write}.
 *
 * <p>Prints one line a subcommand and {@code mqadmin: N of M}. The cases are in {@link MqAdminCases}; requests that no subcommand
 * sends are in {@link AdminApi}.
 */
@ResourceLock(MqAdmin.LOCK)
class MqAdminConformanceTest {
    private static final Path GOLDEN = Paths.get("src", "test", "resources", "mqadmin");
    private static final boolean WRITE = "write".equals(System.getProperty("mqadmin.golden"));
    private static final String ONLY = System.getProperty("mqadmin.only", "");
    private static final int SIDE_BY_SIDE = 8;
    /** How long a command that only looks may take to show what it should. */
    private static final Duration SETTLE = Duration.ofSeconds(Integer.getInteger("mqadmin.settle", 30));

    private final Map<String, String> differences = new ConcurrentHashMap<>();
    private AdminCluster cluster;
    private MqAdmin mqadmin;
    private String adminApi = "";

    @Test
    void everySubcommandPrintsWhatItPrintsOnTheReference() throws Exception {
        assertEveryNameIsListed();
        cluster = new AdminCluster();
        try {
            mqadmin = new MqAdmin(cluster.namesrv.address());
            Files.copy(commitLog(), cluster.work.resolve("commitlog"), StandardCopyOption.REPLACE_EXISTING);
            if (WRITE) {
                Await.pause(30_000);
            }
            if (ONLY.isEmpty() || ONLY.contains("admin-api")) {
                checkAdminApi();
            }
            for (MqAdminCase.Stage stage : MqAdminCase.Stage.values()) {
                run(Stream.concat(MqAdminCases.ALL.stream(), MqAdminCases.REFUSED.stream())
                    .filter(c -> c.stage == stage && (ONLY.isEmpty() || List.of(ONLY.split(",")).contains(c.name)))
                    .collect(Collectors.toList()));
            }
        } finally {
            cluster.dispose();
        }
        report();
    }

    private static void assertEveryNameIsListed() {
        List<String> listed = MqAdminCases.ALL.stream().map(c -> c.name).collect(Collectors.toCollection(ArrayList::new));
        listed.addAll(MqAdminCases.APART.keySet());
        assertEquals(new TreeSet<>(MqAdmin.subcommands()), new TreeSet<>(listed));
        assertEquals(MqAdmin.subcommands().size(), listed.size());
    }

    private Path commitLog() throws Exception {
        try (Stream<Path> files = Files.list(cluster.a.home.resolve("store/commitlog"))) {
            return files.sorted().findFirst().orElseThrow();
        }
    }

    private void run(List<MqAdminCase> cases) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(SIDE_BY_SIDE);
        try {
            List<Callable<Void>> tasks = new ArrayList<>();
            for (MqAdminCase one : cases) {
                tasks.add(() -> {
                    check(one);
                    return null;
                });
            }
            for (Future<Void> done : pool.invokeAll(tasks)) {
                done.get();
            }
        } finally {
            pool.shutdownNow();
        }
    }

    private void check(MqAdminCase one) throws Exception {
        Path golden = GOLDEN.resolve(one.name + ".txt");
        Map<String, String> expected = WRITE ? Map.of() : Transcript.sections(Files.readString(golden));
        Map<String, String> actual = new LinkedHashMap<>();
        int index = 0;
        boolean patient = !WRITE;
        for (String command : one.commands) {
            boolean looks = command.startsWith("~ ");
            String line = looks ? command.substring(2) : command;
            String section = ++index + ". " + line;
            String wanted = expected.get(section);
            String output = looks && patient ? settled(one, line, wanted) : output(one, line);
            // What differs for good is waited for once.
            patient &= output.equals(wanted);
            actual.put(section, output);
        }
        String files = one.shape(Transcript.normalised(one.written(cluster.work), cluster.placeholders));
        if (!files.isEmpty()) {
            actual.put("files", files);
        }
        if (WRITE) {
            Files.createDirectories(GOLDEN);
            Files.writeString(golden, Transcript.of(actual));
        } else if (!expected.equals(actual)) {
            differences.put(one.name, difference(expected, actual));
        }
    }

    /** The output of a command that only looks, as soon as it is the expected one. */
    private String settled(MqAdminCase one, String line, String expected) {
        long deadline = System.nanoTime() + SETTLE.toNanos();
        String output = output(one, line);
        while (!output.equals(expected) && System.nanoTime() < deadline) {
            Await.pause(500);
            output = output(one, line);
        }
        return output;
    }

    private String output(MqAdminCase one, String line) {
        String[] words = Stream.of(line.split(" ")).map(this::filled).toArray(String[]::new);
        MqAdmin.Output output = one.endlessLines > 0 ? mqadmin.interrupted(one.endlessLines, words) : mqadmin.attempt(words);
        return one.shape(Transcript.normalised(output, cluster.placeholders));
    }

    private String filled(String word) {
        String result = word;
        for (Map.Entry<String, String> placeholder : cluster.placeholders.entrySet()) {
            result = result.replace(placeholder.getKey(), placeholder.getValue());
        }
        return result;
    }

    private void checkAdminApi() throws Exception {
        Path golden = GOLDEN.resolve("admin-api.txt");
        AdminApi api = new AdminApi(cluster);
        if (WRITE) {
            Files.writeString(golden, Transcript.of(api.answers()));
            return;
        }
        Map<String, String> expected = Transcript.sections(Files.readString(golden));
        long deadline = System.nanoTime() + SETTLE.toNanos();
        Map<String, String> actual = api.answers();
        while (!actual.equals(expected) && System.nanoTime() < deadline) {
            Await.pause(500);
            actual = api.answers();
        }
        Map<String, String> last = actual;
        long same = expected.keySet().stream().filter(name -> expected.get(name).equals(last.get(name))).count();
        adminApi = "admin API: " + same + " of " + expected.size() + "\n";
        if (!actual.equals(expected)) {
            differences.put("admin-api", difference(expected, actual));
            adminApi += differences.get("admin-api");
        }
    }

    private static String difference(Map<String, String> expected, Map<String, String> actual) {
        StringBuilder report = new StringBuilder();
        actual.forEach((section, text) -> {
            String wanted = expected.getOrDefault(section, "");
            if (!wanted.equals(text)) {
                report.append("    $ ").append(section).append('\n').append(Transcript.difference(wanted, text));
            }
        });
        return report.length() == 0 ? "    other commands than in the file of the reference\n" : report.toString();
    }

    private void report() {
        StringBuilder report = new StringBuilder();
        for (MqAdminCase one : MqAdminCases.ALL) {
            String difference = differences.get(one.name);
            report.append(difference == null ? "ok        " : "DIFFERENT ").append(one.name).append('\n');
            if (difference != null) {
                report.append(difference);
            }
        }
        MqAdminCases.APART.forEach((name, reason) -> report.append("apart     ").append(name).append("  (").append(reason).append(")\n")
            .append(differences.getOrDefault(name, "")));
        report.append(adminApi);
        int count = MqAdminCases.ALL.size();
        long different = MqAdminCases.ALL.stream().filter(one -> differences.containsKey(one.name)).count();
        report.append("mqadmin: ").append(count - different).append(" of ").append(count).append(" (and ")
            .append(MqAdminCases.APART.size()).append(" apart)\n");
        System.out.print(report);
        assertTrue(differences.isEmpty(), () -> "these do not answer like the reference: " + new TreeSet<>(differences.keySet()));
    }
}
