package compat;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;

/**
 * One NameServer or broker process with a directory, ports and a log of its own; Java and Rust ones are started from the
 * same properties file and announce themselves with the same line.
 *
 * <p>Its output is {@code target/servers/NAME.log}. Its directory goes when it is disposed of, unless
 * {@code -Dkeep.directories=true}; no process outlives this JVM.
 */
final class Server {
    private static final Path LOGS = Paths.get("target", "servers").toAbsolutePath();
    /** Start and stop take seconds in Java (a broker sleeps several times on its way down), far more when busy. */
    private static final Duration BOOT_LIMIT = Duration.ofSeconds(120);
    private static final Duration STOP_LIMIT = Duration.ofSeconds(120);
    private static final Set<Server> LIVE = ConcurrentHashMap.newKeySet();

    static {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> LIVE.forEach(Server::dispose)));
    }

    private enum Role {
        NAMESRV("org.apache.rocketmq.namesrv.NamesrvStartup", "mqnamesrv", "256m"),
        BROKER("org.apache.rocketmq.broker.BrokerStartup", "mqbroker", "1g");

        final String javaMain;
        final String rustBinary;
        final String javaHeap;

        Role(String javaMain, String rustBinary, String javaHeap) {
            this.javaMain = javaMain;
            this.rustBinary = rustBinary;
            this.javaHeap = javaHeap;
        }
    }

    final String name;
    final int port;
    final Path home;
    final Map<String, String> config;
    private final Kind kind;
    private final Role role;
    private Process process;

    private Server(Role role, Kind kind, String name, int port, Path home, Map<String, String> config) {
        this.role = role;
        this.kind = kind;
        this.name = name;
        this.port = port;
        this.home = home;
        this.config = config;
        writeConfig();
        LIVE.add(this);
    }

    /** A NameServer, not started yet. */
    static Server namesrv(Kind kind, String name) {
        int port = Ports.take();
        Path home = freshHome(name);
        Map<String, String> config = new LinkedHashMap<>();
        config.put("listenPort", "" + port);
        config.put("kvConfigPath", home.resolve("kvConfig.json").toString());
        return new Server(Role.NAMESRV, kind, name, port, home, config);
    }

    /** A broker with an empty store, not started yet. */
    static Server broker(Kind kind, String name, String namesrvAddr, Map<String, String> config) {
        return brokerOn(freshHome(name), kind, name, namesrvAddr, config);
    }

    /** A broker on {@code home/store}, which may hold what another broker left there. */
    static Server brokerOn(Path home, Kind kind, String name, String namesrvAddr, Map<String, String> config) {
        int port = Ports.take();
        Map<String, String> all = new LinkedHashMap<>(config);
        all.putIfAbsent("brokerName", name);
        all.put("brokerIP1", "127.0.0.1");
        all.put("listenPort", "" + port);
        all.put("haListenPort", "" + (port + 1));
        all.put("namesrvAddr", namesrvAddr);
        all.put("storePathRootDir", home.resolve("store").toString());
        if (config.containsKey("metricsExporterType")) {
            all.put("metricsPromExporterHost", "127.0.0.1");
            all.put("metricsPromExporterPort", "" + (port + 2));
        }
        // A nearly full disk of the machine would cost the oldest messages.
        all.putIfAbsent("cleanFileForciblyEnable", "false");
        return new Server(Role.BROKER, kind, name, port, home, all);
    }

    /** A server of maybe another kind for the same directory, port and configuration; this one must have ended. */
    Server replacedBy(Kind other) {
        LIVE.remove(this);
        return new Server(role, other, name, port, home, config);
    }

    static Path freshHome(String name) {
        try {
            return Files.createTempDirectory("compat-" + name + "-");
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    String address() {
        return "127.0.0.1:" + port;
    }

    /** Of a broker with {@code metricsExporterType=PROM}. */
    String metricsUrl() {
        return "http://127.0.0.1:" + config.get("metricsPromExporterPort") + "/metrics";
    }

    /** Starts the process and returns when it has announced its success. */
    Server start() {
        try {
            Files.createDirectories(LOGS);
            long before = Files.exists(log()) ? Files.size(log()) : 0;
            ProcessBuilder builder = new ProcessBuilder(command());
            builder.directory(home.toFile());
            builder.environment().put("ROCKETMQ_HOME", home.toString());
            builder.environment().put("HOME", home.toString());
            builder.environment().remove("NAMESRV_ADDR");
            builder.redirectErrorStream(true);
            builder.redirectOutput(ProcessBuilder.Redirect.appendTo(log().toFile()));
            process = builder.start();
            Await.until(() -> name + " to boot; see " + log(), BOOT_LIMIT,
                () -> outputFrom(before).contains("boot success.") || !process.isAlive());
            String output = outputFrom(before);
            if (!output.contains(announcement())) {
                throw new AssertionError(name + " did not print \"" + announcement() + "...\" but:\n" + output);
            }
            return this;
        } catch (IOException e) {
            throw new AssertionError("start " + name, e);
        }
    }

    /** Asks the process to stop (SIGTERM) and waits until it has gone. */
    void stop() {
        process.destroy();
        awaitExit();
    }

    /** kill -9. */
    void kill() {
        process.destroyForcibly();
        awaitExit();
    }

    boolean isAlive() {
        return process != null && process.isAlive();
    }

    /** Ends the process without ceremony and deletes its directory. */
    void dispose() {
        if (isAlive()) {
            kill();
        }
        LIVE.remove(this);
        if (!Boolean.getBoolean("keep.directories")) {
            deleteTree(home);
        }
    }

    private void awaitExit() {
        try {
            if (!process.waitFor(STOP_LIMIT.toSeconds(), TimeUnit.SECONDS)) {
                throw new AssertionError(name + " is still running " + STOP_LIMIT.toSeconds() + " s after the signal");
            }
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    private String announcement() {
        return role == Role.NAMESRV ? "The Name Server boot success. "
            : "The broker[" + config.get("brokerName") + ", " + address() + "] boot success. ";
    }

    private Path log() {
        return LOGS.resolve(name + ".log");
    }

    private Path configFile() {
        return home.resolve(role.rustBinary + ".conf");
    }

    private String outputFrom(long position) throws IOException {
        byte[] all = Files.exists(log()) ? Files.readAllBytes(log()) : new byte[0];
        int from = (int) Math.min(position, all.length);
        return new String(all, from, all.length - from, StandardCharsets.UTF_8);
    }

    private List<String> command() {
        if (kind == Kind.RUST) {
            Path binaries = Paths.get(System.getProperty("server.bin", "../target/release")).toAbsolutePath();
            return List.of(binaries.resolve(role.rustBinary).toString(), "-c", configFile().toString());
        }
        return Jvm.command(role.javaMain, role.javaHeap,
            List.of("-Drocketmq.home.dir=" + home, "-Duser.home=" + home, "-Dcompat.log.file=" + log()),
            List.of("-c", configFile().toString()));
    }

    private void writeConfig() {
        List<String> lines = new ArrayList<>();
        config.forEach((key, value) -> lines.add(key + "=" + value));
        try {
            Files.createDirectories(home.resolve("conf"));
            Files.write(configFile(), lines);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    static void deleteTree(Path root) {
        try (Stream<Path> paths = Files.walk(root)) {
            paths.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        } catch (IOException e) {
            // A temporary directory that cannot be removed fails no test.
        }
    }

    /**
     * Listening ports. They lie below the range the kernel gives to outgoing connections: a client that keeps knocking
     * at a restarting broker could otherwise be given the broker's own port.
     */
    private static final class Ports {
        private static final int FIRST = Integer.getInteger("ports.first", 20000);
        private static final int LAST = Integer.getInteger("ports.last", 22999);
        private static final int STEP = 5;
        private static final int SLOTS = (LAST - FIRST) / STEP;
        private static final AtomicInteger NEXT = new AtomicInteger((int) (ProcessHandle.current().pid() * 7 % SLOTS));

        /** A port p with p - 2 (VIP channel), p, p + 1 (replication) and p + 2 (metrics) free. */
        static int take() {
            for (int tries = 0; tries < SLOTS; tries++) {
                int port = FIRST + 2 + NEXT.getAndIncrement() % SLOTS * STEP;
                if (isFree(port - 2) && isFree(port) && isFree(port + 1) && isFree(port + 2)) {
                    return port;
                }
            }
            throw new AssertionError("no free port between " + FIRST + " and " + LAST);
        }

        private static boolean isFree(int port) {
            try (ServerSocket socket = new ServerSocket()) {
                socket.setReuseAddress(true);
                socket.bind(new InetSocketAddress((InetAddress) null, port));
                return true;
            } catch (IOException e) {
                return false;
            }
        }
    }
}
