package compat;

import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.provider.Arguments;

/**
 * A broker's directory changes hands: one broker begins, another goes on with what it left, and so forth, all known to one
 * NameServer under the same name.
 *
 * <p>{@code -Dwriter} and {@code -Dreader} choose the two; by default the broker under test and Java.
 */
abstract class ExchangeTest extends CompatTest {
    Server namesrv;
    Server broker;
    Pair pair;

    /** Who begins and who goes on; when the two differ each begins once. */
    static Stream<Arguments> pairs() {
        Kind writer = Kind.of("writer", Kind.broker());
        Kind reader = Kind.of("reader", Kind.JAVA);
        Stream<Arguments> there = Stream.of(Arguments.of(writer, reader));
        return writer == reader ? there : Stream.concat(there, Stream.of(Arguments.of(reader, writer)));
    }

    @Override
    Pair pair() {
        return pair;
    }

    /** The first broker, on an empty directory. */
    void begin(Kind first, String name, Map<String, String> config) throws Exception {
        namesrv = Server.namesrv(Kind.namesrv(), name + "-namesrv").start();
        broker = Server.broker(first, name + "-broker", namesrv.address(), config).start();
        connect();
    }

    /** The next broker; the one before must have ended, and its clients end now. */
    void continueWith(Kind next) throws Exception {
        shutDownClients();
        pair.admin.shutdown();
        broker = broker.replacedBy(next).start();
        connect();
    }

    /** Called whenever a broker has started; tests add the clients that they need of each. */
    void connect() throws Exception {
        pair = Pair.of(namesrv, broker);
    }

    @AfterEach
    void disposeOfServers() {
        shutDownClients();
        Stream.of(broker, namesrv).filter(server -> server != null).forEach(Server::dispose);
    }
}
