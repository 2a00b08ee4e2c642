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

/** A producer with answers by message body: what it says after the send, and what it says when it is asked. */
final class Transactions implements TransactionListener {
    static final int CHECK_MAX = 4;

    final Map<String, LocalTransactionState> first = new ConcurrentHashMap<>();
    final Map<String, LocalTransactionState> asked = new ConcurrentHashMap<>();
    final List<MessageExt> questions = new CopyOnWriteArrayList<>();
    TransactionMQProducer producer;

    private Transactions() {
    }

    /** A broker that asks soon and often. */
    static Map<String, String> impatient() {
        return Map.of("transactionTimeOut", "1000", "transactionCheckInterval", "1000", "transactionCheckMax",
            Integer.toString(CHECK_MAX), "transactionOpBatchInterval", "500");
    }

    /** Started, and shut down when the test is over. */
    static Transactions start(CompatTest test, String group) throws Exception {
        Transactions transactions = new Transactions();
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setNamesrvAddr(test.pair().namesrvAddr());
        producer.setSendMsgTimeout(15_000);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.setTransactionListener(transactions);
        transactions.producer = producer;
        producer.start();
        test.closeLater(producer::shutdown);
        return transactions;
    }

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
        CompatTest.assertSent(result);
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
