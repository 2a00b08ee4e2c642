package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

/** MessageSelector.bySql. */
class SqlFilterTest extends CompatTest {
    static final String EXPRESSION = "price BETWEEN 2 AND 4 AND region IN ('hz', 'sh') OR vip IS NOT NULL";
    static final List<String> WANTED = List.of("2-hz", "3-hz", "2-sh", "3-sh", "9-vip", "4.0-vip");

    @Test
    @Tag("mixed")
    void aPushConsumerGetsWhatItsExpressionSelects() throws Exception {
        String topic = newTopic("SqlPush", 2);
        DefaultMQProducer producer = startProducer();
        sendPriced(producer, topic, "");
        Received received = select(unique("CG"), topic, EXPRESSION);
        received.awaitExactly(WANTED);
        // Now its pulls are held, and most messages must not wake them for good.
        sendPriced(producer, topic, "again-");
        received.awaitExactly(Stream.concat(WANTED.stream(), WANTED.stream().map(body -> "again-" + body)).toList());
    }

    @Test
    void aLitePullConsumerPollsWhatItsExpressionSelects() throws Exception {
        String topic = newTopic("SqlLite", 2);
        sendPriced(startProducer(), topic, "");
        DefaultLitePullConsumer consumer = newLitePull(unique("CG"));
        consumer.subscribe(topic, MessageSelector.bySql(EXPRESSION));
        consumer.start();
        List<String> bodies = new ArrayList<>();
        Await.until(() -> WANTED + ", got " + bodies, Await.LIMIT, () -> {
            for (MessageExt message : consumer.poll(500)) {
                bodies.add(body(message));
            }
            return bodies.size() >= WANTED.size();
        });
        assertEquals(WANTED.stream().sorted().toList(), bodies.stream().sorted().toList());
    }

    @Test
    void aPullBringsItsOwnExpression() throws Exception {
        String topic = newTopic("SqlPull", 1);
        sendPriced(startProducer(), topic, "");
        DefaultMQPullConsumer puller = new DefaultMQPullConsumer(unique("Puller"));
        puller.setNamesrvAddr(pair().namesrvAddr());
        puller.setRegisterTopics(Set.of(topic));
        puller.start();
        closeLater(puller::shutdown);
        PullResult result = pullOnceTheBrokerIsKnown(puller, queue(topic, 0), "price > 2.5 AND region = 'hz'");
        // The message without a number as its price fails the whole expression.
        assertEquals(List.of("3-hz", "5-hz", "9-vip"), result.getMsgFoundList().stream().map(CompatTest::body).toList());
    }

    @Test
    void aMessageThatFailedComesBack() throws Exception {
        String topic = newTopic("SqlRetry", 1);
        DefaultMQPushConsumer consumer = newConsumer(unique("CG"), topic, "*");
        consumer.subscribe(topic, MessageSelector.bySql("price = 3 AND region = 'hz'"));
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            received.accept(messages, context);
            return messages.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        sendPriced(startProducer(), topic, "");
        received.awaitCount(2);
        assertEquals(List.of("3-hz", "3-hz"), received.bodies());
        assertEquals(topic, received.messages().get(1).getTopic());
    }

    @Test
    void anExpressionThatIsNoneIsRefusedWhenTheConsumerStarts() throws Exception {
        String topic = newTopic("SqlSyntax", 1);
        for (String expression : List.of("(price > 1", "price > 'a'", "price = 99999999999999999999")) {
            DefaultMQPushConsumer consumer = newConsumer(unique("CG"), topic, "*");
            consumer.subscribe(topic, MessageSelector.bySql(expression));
            consumer.registerMessageListener((MessageListenerConcurrently) new Received()::accept);
            MQClientException e = assertThrows(MQClientException.class, consumer::start, expression);
            assertEquals(ResponseCode.SUBSCRIPTION_PARSE_FAILED, e.getResponseCode(), expression + ": " + e);
        }
    }

    /** Before its first heartbeat, the client does not know that the broker knows expressions. */
    private static PullResult pullOnceTheBrokerIsKnown(DefaultMQPullConsumer puller, MessageQueue queue, String expression) {
        AtomicReference<PullResult> result = new AtomicReference<>();
        Await.until("a pull with an expression", () -> {
            try {
                result.set(puller.pull(queue, MessageSelector.bySql(expression), 0, 32));
                return true;
            } catch (MQClientException e) {
                if (e.getErrorMessage().contains("does not upgrade to support")) {
                    return false;
                }
                throw e;
            }
        });
        return result.get();
    }

    private Received select(String group, String topic, String expression) throws MQClientException {
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.subscribe(topic, MessageSelector.bySql(expression));
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        return received;
    }

    /** Prices 1, 2, 3 and 5 in each of three regions, two for very important persons, and one that is no number. */
    static void sendPriced(DefaultMQProducer producer, String topic, String prefix) throws Exception {
        for (String region : List.of("hz", "sh", "bj")) {
            for (String price : List.of("1", "2", "3", "5")) {
                send(producer, topic, prefix + price + "-" + region, price, region, null);
            }
        }
        send(producer, topic, prefix + "9-vip", "9", "hz", "yes");
        send(producer, topic, prefix + "4.0-vip", null, null, "yes");
        send(producer, topic, prefix + "free-hz", "free", "hz", null);
    }

    private static void send(DefaultMQProducer producer, String topic, String body, String price, String region, String vip)
        throws Exception {
        Message message = message(topic, body);
        if (price != null) {
            message.putUserProperty("price", price);
        }
        if (region != null) {
            message.putUserProperty("region", region);
        }
        if (vip != null) {
            message.putUserProperty("vip", vip);
        }
        assertSent(producer.send(message));
    }
}
