package compat;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** What the tests of transactions share: a broker that asks soon, and producers that answer as they are told. */
abstract class TransactionSupport extends CompatTest {
    static final int CHECK_MAX = 4;

    /** A broker that asks soon and often. */
    static Map<String, String> impatient() {
        return Map.of("transactionTimeOut", "1000", "transactionCheckInterval", "1000", "transactionCheckMax",
            Integer.toString(CHECK_MAX), "transactionOpBatchInterval", "500");
    }

    /** A producer with answers by message body: what it says after the send, and what it says when it is asked. */
    static final class Transactions implements TransactionListener {
        final Map<String, LocalTransactionState> first = new ConcurrentHashMap<>();
        final Map<String, LocalTransactionState> asked = new ConcurrentHashMap<>();
        final List<MessageExt> questions = new CopyOnWriteArrayList<>();
        TransactionMQProducer producer;

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
            return first.getOrDefault(new String(message.getBody()), LocalTransactionState.UNKNOW);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            questions.add(message);
            return asked.getOrDefault(body(message), LocalTransactionState.UNKNOW);
        }

        TransactionSendResult send(Message message, LocalTransactionState answer) throws Exception {
            first.put(body(message), answer);
            TransactionSendResult result = producer.sendMessageInTransaction(message, null);
            assertSent(result);
            assertEquals(answer, result.getLocalTransactionState());
            return result;
        }

        List<MessageExt> questionsAbout(String body) {
            return questions.stream().filter(question -> body(question).equals(body)).collect(Collectors.toList());
        }

        private static String body(Message message) {
            return new String(message.getBody());
        }
    }

    Transactions startTransactions(String group) throws Exception {
        Transactions transactions = new Transactions();
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setNamesrvAddr(pair().namesrvAddr());
        producer.setSendMsgTimeout(15_000);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.setTransactionListener(transactions);
        transactions.producer = producer;
        producer.start();
        closeLater(producer::shutdown);
        return transactions;
    }

    /** A second message, committed at once: when it has come, what was rolled back before it would have come too. */
    void commitMarker(Transactions transactions, String topic, Received received) throws Exception {
        String marker = unique("marker");
        transactions.send(message(topic, marker), LocalTransactionState.COMMIT_MESSAGE);
        received.awaitAll(List.of(marker));
    }

    static long count(Received received, String body) {
        return received.bodies().stream().filter(body::equals).count();
    }
}
