package compat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * Transactions that are open when their broker ends are gone on with by another broker on the same directory.
 *
 * <p>Which two is said in {@link ExchangeTest}. A broker that is followed by ours is killed, with what it had not
 * written yet; one followed by Java is stopped, since Java would ask again about what was just committed.
 */
class TransactionExchangeTest extends ExchangeTest {
    private StoreReader reader;

    @ParameterizedTest
    @MethodSource("pairs")
    void openTransactionsAreGoneOnWithByTheNextBroker(Kind first, Kind second) throws Exception {
        Map<String, String> config = new LinkedHashMap<>(Pair.SMALL_FILES);
        config.putAll(Transactions.impatient());
        config.put("transactionCheckMax", "1000");
        begin(first, "tx-exchange", config);
        String topic = newTopic("TxExchange", 1);
        String group = unique("TxPG");
        Transactions before = Transactions.start(this, group);
        for (String body : List.of("yes", "no", "later")) {
            before.send(message(topic, body), LocalTransactionState.UNKNOW);
        }
        before.send(message(topic, "rolled back"), LocalTransactionState.ROLLBACK_MESSAGE);
        Await.until("a question about each", () ->
            Stream.of("yes", "no", "later").allMatch(body -> !before.questionsAbout(body).isEmpty()));
        before.send(message(topic, "committed"), LocalTransactionState.COMMIT_MESSAGE);
        Await.until("the committed message", () -> pair.admin.maxOffset(queue(topic, 0)) == 1);

        handOverTo(second);
        Transactions after = Transactions.start(this, group);
        after.asked.put("yes", LocalTransactionState.COMMIT_MESSAGE);
        after.asked.put("no", LocalTransactionState.ROLLBACK_MESSAGE);
        makeKnown(after, topic);
        Await.until("what is committed", () -> visible(topic).containsAll(List.of("committed", "yes")));
        Await.until("a question about the one to roll back", () -> !after.questionsAbout("no").isEmpty());
        // A rollback leaves nothing but its op record, which Java writes a little later.
        Await.pause(1_500);

        handOverTo(first);
        Transactions last = Transactions.start(this, group);
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

    private void handOverTo(Kind kind) throws Exception {
        shutDownClients();
        if (kind == Kind.RUST) {
            broker.kill();
        } else {
            // Java writes what has ended a little later, and not when it stops.
            Await.pause(1_500);
            broker.stop();
        }
        continueWith(kind);
    }

    @Override
    void connect() throws Exception {
        super.connect();
        reader = new StoreReader(pair, startPuller());
    }
}
