package compat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * Transactions that are open when their broker ends are gone on with by another broker on the same directory.
 *
 * <p>Which two is said as in {@link WriterReaderTest}. A broker that is followed by ours is killed, with what it had not
 * written yet; one followed by Java is stopped, since Java would ask again about what was just committed.
 */
class TransactionExchangeTest extends TransactionSupport {
    private Server namesrv;
    private Server broker;
    private Pair pair;
    private StoreReader reader;

    static Stream<Arguments> pairs() {
        return WriterReaderTest.pairs();
    }

    @Override
    Pair pair() {
        return pair;
    }

    @AfterEach
    void disposeOfServers() {
        shutDownClients();
        Stream.of(broker, namesrv).filter(server -> server != null).forEach(Server::dispose);
    }

    @ParameterizedTest
    @MethodSource("pairs")
    void openTransactionsAreGoneOnWithByTheNextBroker(Kind first, Kind second) throws Exception {
        Map<String, String> config = new LinkedHashMap<>(Pair.SMALL_FILES);
        config.putAll(impatient());
        config.put("transactionCheckMax", "1000");
        namesrv = Server.namesrv(Kind.namesrv(), "tx-exchange-namesrv").start();
        broker = Server.broker(first, "tx-exchange-broker", namesrv.address(), config).start();
        connect();
        String topic = newTopic("TxExchange", 1);
        String group = unique("TxPG");
        Transactions before = startTransactions(group);
        for (String body : List.of("yes", "no", "later")) {
            before.send(message(topic, body), LocalTransactionState.UNKNOW);
        }
        before.send(message(topic, "rolled back"), LocalTransactionState.ROLLBACK_MESSAGE);
        Await.until("a question about each", () ->
            Stream.of("yes", "no", "later").allMatch(body -> !before.questionsAbout(body).isEmpty()));
        before.send(message(topic, "committed"), LocalTransactionState.COMMIT_MESSAGE);
        Await.until("the committed message", () -> pair.admin.maxOffset(queue(topic, 0)) == 1);

        continueWith(second);
        Transactions after = startTransactions(group);
        after.asked.put("yes", LocalTransactionState.COMMIT_MESSAGE);
        after.asked.put("no", LocalTransactionState.ROLLBACK_MESSAGE);
        makeKnown(after, topic);
        Await.until("what is committed", () -> visible(topic).containsAll(List.of("committed", "yes")));
        Await.until("a question about the one to roll back", () -> !after.questionsAbout("no").isEmpty());

        continueWith(first);
        Transactions last = startTransactions(group);
        last.asked.put("later", LocalTransactionState.COMMIT_MESSAGE);
        makeKnown(last, topic);
        Await.until("what is committed last", () -> visible(topic).contains("later"));
        Await.until("two more rounds", () -> roundsPassed(last, topic));

        assertEquals(List.of("committed", "later", "yes"),
            visible(topic).stream().sorted().collect(Collectors.toList()));
        assertTrue(last.questions.stream().noneMatch(question ->
            List.of("committed", "yes", "no", "rolled back").contains(body(question))), last.questions.toString());
    }

    /** The bodies in the topic's queue. */
    private List<String> visible(String topic) throws Exception {
        long end = pair.admin.maxOffset(queue(topic, 0));
        return reader.pull(queue(topic, 0), 0, end).stream().map(CompatTest::body).collect(Collectors.toList());
    }

    /** A producer connects to a broker when it sends, and only then can be asked. */
    private void makeKnown(Transactions transactions, String topic) throws Exception {
        transactions.send(message(topic, "rolled back"), LocalTransactionState.ROLLBACK_MESSAGE);
    }

    /** A message that stays open is asked about in every round. */
    private boolean roundsPassed(Transactions transactions, String topic) throws Exception {
        if (!transactions.first.containsKey("open")) {
            transactions.send(message(topic, "open"), LocalTransactionState.UNKNOW);
        }
        return transactions.questionsAbout("open").size() >= 2;
    }

    private void continueWith(Kind kind) throws Exception {
        shutDownClients();
        pair.admin.shutdown();
        if (kind == Kind.RUST) {
            broker.kill();
        } else {
            // Java writes what has ended a little later, and not when it stops.
            Await.pause(1_500);
            broker.stop();
        }
        broker = broker.replacedBy(kind).start();
        connect();
    }

    private void connect() throws Exception {
        pair = Pair.of(namesrv, broker);
        reader = new StoreReader(pair, startPuller());
    }
}
