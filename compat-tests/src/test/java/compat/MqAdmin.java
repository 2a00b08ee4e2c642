package compat;

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Options;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.srvutil.ServerUtil;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * The stock mqadmin, run inside this JVM with its output caught.
 *
 * <p>The tool exits with 0 and prints a stack trace when a command fails, so success is: no exception on stderr. Commands
 * for different pairs must not run side by side, since the tool takes the name server from a system property: see
 * {@link #LOCK}.
 */
final class MqAdmin {
    /** A {@code ResourceLock}: shared by the classes that use the shared pair, exclusive for others. */
    static final String LOCK = "mqadmin";

    /** The tool looks for an ACL file under the home directory unless it is given a hook. */
    private static final RPCHook NO_HOOK = new RPCHook() {
        @Override
        public void doBeforeRequest(String remoteAddr, RemotingCommand request) {
        }

        @Override
        public void doAfterResponse(String remoteAddr, RemotingCommand request, RemotingCommand response) {
        }
    };

    private final String namesrvAddr;

    MqAdmin(Pair pair) {
        this(pair.namesrvAddr());
    }

    MqAdmin(String namesrvAddr) {
        this.namesrvAddr = namesrvAddr;
    }

    /** Runs a command that must succeed. */
    Output run(String... command) {
        Output output = attempt(command);
        assertFalse(output.failed(), () -> String.join(" ", command) + " failed:\n" + output.err);
        return output;
    }

    /**
     * Runs a command that may fail. Two clients of the tool that are made in the same millisecond have the same name,
     * which is refused: then the command is run again. So it is, a few times, when a busy machine keeps an answer back for
     * longer than the tool waits, or when the other of two that share a client for their name ends first and closes its connections.
     */
    Output attempt(String... command) {
        Output output = once(command);
        for (int losses = 0; isRefusedForItsName(output) || (isLost(output) && losses < 3);) {
            losses += isLost(output) ? 1 : 0;
            output = once(command);
        }
        return output;
    }

    private static boolean isRefusedForItsName(Output output) {
        return output.err.contains("has created already") || output.err.contains("has been created before");
    }

    private static boolean isLost(Output output) {
        return Stream.of("RemotingTimeoutException", "RemotingTooMuchRequestException", "RemotingConnectException", "RemotingSendRequestException")
            .anyMatch(output.err::contains);
    }

    /** Runs a command that never ends by itself until it has printed so many lines. */
    Output interrupted(int lines, String... command) {
        ByteArrayOutputStream out = Caught.OUT.begin();
        Thread runner = Thread.currentThread();
        Thread watcher = new Thread(() -> {
            Await.until(command[0] + " to print", () -> out.toString(StandardCharsets.UTF_8).lines().count() >= lines);
            runner.interrupt();
        });
        watcher.start();
        try {
            Tool.execute(namesrvAddr, command);
            return new Output(out.toString(StandardCharsets.UTF_8), "");
        } catch (Exception e) {
            boolean asked = e.getCause() instanceof InterruptedException;
            return new Output(out.toString(StandardCharsets.UTF_8), asked ? "" : e.toString());
        } finally {
            Caught.OUT.end();
        }
    }

    /** The names of all subcommands of this release. */
    static List<String> subcommands() {
        return Tool.all().stream().map(SubCommand::commandName).collect(Collectors.toList());
    }

    private Output once(String... command) {
        ByteArrayOutputStream out = Caught.OUT.begin();
        ByteArrayOutputStream err = Caught.ERR.begin();
        try {
            Tool.execute(namesrvAddr, command);
        } catch (Exception e) {
            e.printStackTrace();
        } finally {
            Caught.OUT.end();
            Caught.ERR.end();
        }
        return new Output(out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
    }

    /** What MQAdminStartup.main0 does with its arguments, each time with a new command object: some keep their client. */
    private static final class Tool extends MQAdminStartup {
        static void execute(String namesrvAddr, String... command) throws Exception {
            SubCommand subCommand = find(command[0]);
            Options options = subCommand.buildCommandlineOptions(ServerUtil.buildCommandlineOptions(new Options()));
            List<String> arguments = new ArrayList<>(Arrays.asList(command).subList(1, command.length));
            arguments.addAll(List.of("-n", namesrvAddr));
            CommandLine line = new DefaultParser().parse(options, arguments.toArray(new String[0]));
            System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, namesrvAddr);
            subCommand.execute(line, options, NO_HOOK);
        }

        private static SubCommand find(String name) {
            return all().stream().filter(c -> c.commandName().equals(name)).findFirst().orElseThrow();
        }

        static List<SubCommand> all() {
            synchronized (SUB_COMMANDS) {
                SUB_COMMANDS.clear();
                initCommand();
                return List.copyOf(SUB_COMMANDS);
            }
        }
    }

    /** A standard stream that each thread may have for itself for a while. */
    private static final class Caught extends OutputStream {
        static final Caught OUT = new Caught(System.out);
        static final Caught ERR = new Caught(System.err);

        static {
            System.setOut(new PrintStream(OUT, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(ERR, true, StandardCharsets.UTF_8));
        }

        private final PrintStream otherwise;
        private final ThreadLocal<ByteArrayOutputStream> caught = new ThreadLocal<>();

        private Caught(PrintStream otherwise) {
            this.otherwise = otherwise;
        }

        ByteArrayOutputStream begin() {
            caught.set(new ByteArrayOutputStream());
            return caught.get();
        }

        void end() {
            caught.remove();
        }

        @Override
        public void write(int b) {
            ByteArrayOutputStream mine = caught.get();
            if (mine != null) {
                mine.write(b);
            } else {
                otherwise.write(b);
            }
        }

        @Override
        public void write(byte[] bytes, int offset, int length) {
            ByteArrayOutputStream mine = caught.get();
            if (mine != null) {
                mine.write(bytes, offset, length);
            } else {
                otherwise.write(bytes, offset, length);
            }
        }
    }

    /** What a command printed. */
    static final class Output {
        final String out;
        final String err;

        private Output(String out, String err) {
            this.out = out;
            this.err = err;
        }

        boolean failed() {
            return err.contains("Exception") || err.contains("Error");
        }

        List<String> lines() {
            return out.lines().collect(Collectors.toList());
        }

        Output assertHas(String text) {
            assertTrue(out.contains(text), () -> "no \"" + text + "\" in:\n" + out);
            return this;
        }

        Output assertLacks(String text) {
            assertFalse(out.contains(text), () -> "\"" + text + "\" in:\n" + out);
            return this;
        }

        /** Some line consists of these columns, in this order, and maybe more after them. */
        Output assertRow(Object... columns) {
            assertTrue(hasRow(columns), () -> "no row " + Arrays.toString(columns) + " in:\n" + out);
            return this;
        }

        boolean hasRow(Object... columns) {
            String row = Arrays.stream(columns).map(c -> Pattern.quote(c.toString())).collect(Collectors.joining("\\s+"));
            return Pattern.compile("(?m)^\\s*" + row + "(\\s|$)").matcher(out).find();
        }

        /** The value of a "name : value", "name = value" or "name: value" line; fails if there is none. */
        String value(String name) {
            String prefix = "(?m)^" + Pattern.quote(name) + "[ \\t]*[:=][ \\t]*(.*)$";
            Matcher matcher = Pattern.compile(prefix).matcher(out);
            assertTrue(matcher.find(), () -> "no value of " + name + " in:\n" + out);
            return matcher.group(1).trim();
        }
    }
}
