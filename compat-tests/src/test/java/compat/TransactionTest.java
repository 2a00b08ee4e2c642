package compat;

import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Transactions with the stock producer: every way they end, and the checks of those that do not. */
class TransactionTest extends CompatTest {
    static final String DISCARDED = "TRANS_CHECK_MAX_TIME_TOPIC";

    @RegisterExtension
    static final OwnPair SERVERS = new OwnPair("transactions", Transactions.impatient());

    @Override
    Pair pair() {
        return SERVERS.pair();
    }

    @Test
    @Tag("mixed")
    void whatIsCommittedArrivesOnceAndWhatIsRolledBackNever() throws Exception {
        String topic = newTopic("Tx", 2);
        Received received = consume(unique("CG"), topic, "TagA");
        Transactions transactions = Transactions.start(this, unique("TxPG"));
        Message committed = message(topic, "TagA", "tx-key", "committed");
        committed.putUserProperty("color", "red");
        committed.setFlag(7);

        TransactionSendResult result = transactions.send(committed, LocalTransactionState.COMMIT_MESSAGE);
        transactions.send(message(topic, "TagA", "other", "rolled back"), LocalTransactionState.ROLLBACK_MESSAGE);

        MessageExt message = received.awaitCount(1).get(0);
        assertEquals(topic, message.getTopic());
        assertEquals(result.getMessageQueue().getQueueId(), message.getQueueId());
        assertEquals(result.getTransactionId(), message.getProperty(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX));
        assertEquals(List.of("TagA", "tx-key", "red", "committed"),
            List.of(message.getTags(), message.getKeys(), message.getProperty("color"), body(message)));
        assertEquals(7, message.getFlag());
        assertEquals(8, message.getSysFlag() & 0xC, "the flag of a committed message");
        Map<String, String> properties = message.getProperties();
        assertEquals("true", properties.get("TRAN_MSG"));
        assertEquals(transactions.producer.getProducerGroup(), properties.get("PGROUP"));
        assertEquals(result.getTransactionId(), properties.get("__transactionId__"));
        assertTrue(!properties.containsKey("REAL_TOPIC") && !properties.containsKey("REAL_QID"), properties.toString());

        // Both have been looked at by a check since.
        transactions.asked.put("asked", LocalTransactionState.COMMIT_MESSAGE);
        transactions.send(message(topic, "TagA", "", "asked"), LocalTransactionState.UNKNOW);
        received.awaitAll(List.of("asked"));
        received.awaitExactly(List.of("committed", "asked"));
        assertEquals(1, pair().admin.queryMessage(topic, "tx-key", 32, 0, Long.MAX_VALUE).getMessageList().size());
        assertTrue(transactions.questionsAbout("rolled back").isEmpty() && transactions.questionsAbout("committed").isEmpty());
    }

    @Test
    void whoSaysUnknownIsAskedAndTheAnswerCounts() throws Exception {
        String topic = newTopic("TxAsk", 1);
        Received received = consume(unique("CG"), topic, "*");
        Transactions transactions = Transactions.start(this, unique("TxPG"));
        transactions.asked.put("yes", LocalTransactionState.COMMIT_MESSAGE);
        transactions.asked.put("no", LocalTransactionState.ROLLBACK_MESSAGE);

        TransactionSendResult yes = transactions.send(message(topic, "T", "k", "yes"), LocalTransactionState.UNKNOW);
        transactions.send(message(topic, "no"), LocalTransactionState.UNKNOW);

        received.awaitAll(List.of("yes"));
        Await.until("a question about both", () -> !transactions.questionsAbout("no").isEmpty());
        MessageExt question = transactions.questionsAbout("yes").get(0);
        assertEquals(topic, question.getTopic());
        assertEquals(yes.getMessageQueue().getQueueId(), question.getQueueId());
        assertEquals(yes.getTransactionId(), question.getTransactionId());
        assertEquals("1", question.getProperty(MessageConst.PROPERTY_TRANSACTION_CHECK_TIMES));
        assertNotNull(question.getProperty(MessageConst.PROPERTY_PRODUCER_GROUP));
        assertEquals("1", received.messages().get(0).getProperty(MessageConst.PROPERTY_TRANSACTION_CHECK_TIMES));

        // A later message that is asked about twice proves two more rounds.
        transactions.send(message(topic, "still unknown"), LocalTransactionState.UNKNOW);
        Await.until("two more rounds", () -> transactions.questionsAbout("still unknown").size() >= 2);
        received.awaitExactly(List.of("yes"));
        assertEquals(1, transactions.questionsAbout("yes").size());
        assertEquals(1, transactions.questionsAbout("no").size());
    }

    @Test
    void aMessageNobodyAnswersForIsDiscardedAndCanBeResumed() throws Exception {
        String topic = newTopic("TxMax", 1);
        String body = unique("nobody knows");
        Received received = consume(unique("CG"), topic, "*");
        Transactions transactions = Transactions.start(this, unique("TxPG"));
        transactions.send(message(topic, body), LocalTransactionState.UNKNOW);

        StoreReader reader = new StoreReader(pair(), startPuller());
        Await.until("the discarded message", () -> discarded(reader, body) != null);
        MessageExt discarded = discarded(reader, body);
        assertEquals(Integer.toString(Transactions.CHECK_MAX), discarded.getProperty(MessageConst.PROPERTY_TRANSACTION_CHECK_TIMES));
        assertEquals(topic, discarded.getProperty("REAL_TOPIC"));
        Await.until("all questions", () -> transactions.questionsAbout(body).size() == Transactions.CHECK_MAX);
        assertEquals(0, count(received, body));

        transactions.asked.put(body, LocalTransactionState.COMMIT_MESSAGE);
        assertTrue(pair().admin.resumeCheckHalfMessage(topic, offsetId(discarded)));
        received.awaitExactly(List.of(body));
    }

    private static String offsetId(MessageExt message) {
        return ((org.apache.rocketmq.common.message.MessageClientExt) message).getOffsetMsgId();
    }

    private MessageExt discarded(StoreReader reader, String body) throws Exception {
        long end = pair().admin.maxOffset(queue(DISCARDED, 0));
        return reader.pull(queue(DISCARDED, 0), 0, end).stream()
            .filter(message -> body(message).equals(body)).findFirst().orElse(null);
    }

    @Test
    void aProducerCanSetHowLongItIsNotAsked() throws Exception {
        String topic = newTopic("TxImmune", 1);
        Received received = consume(unique("CG"), topic, "*");
        Transactions transactions = Transactions.start(this, unique("TxPG"));
        transactions.asked.put("immune", LocalTransactionState.COMMIT_MESSAGE);
        Message message = message(topic, "immune");
        message.putUserProperty(MessageConst.PROPERTY_CHECK_IMMUNITY_TIME_IN_SECONDS, "2");
        long sentAt = System.currentTimeMillis();
        transactions.send(message, LocalTransactionState.UNKNOW);

        received.awaitAll(List.of("immune"));
        long waited = received.deliveries().get(0).at() - sentAt;
        assertTrue(waited >= 2_000, "asked after " + waited + " ms");
        commitMarker(transactions, topic, received);
        assertEquals(1, count(received, "immune"));
    }

    /** A second message, committed at once: when it has come, what was rolled back before it would have come too. */
    private void commitMarker(Transactions transactions, String topic, Received received) throws Exception {
        String marker = unique("marker");
        transactions.send(message(topic, marker), LocalTransactionState.COMMIT_MESSAGE);
        received.awaitAll(List.of(marker));
    }

    private static long count(Received received, String body) {
        return received.bodies().stream().filter(body::equals).count();
    }
}
