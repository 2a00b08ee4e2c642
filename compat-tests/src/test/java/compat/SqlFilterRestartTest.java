package compat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** SQL filters on a broker that restarts, and on one that may not filter. */
@StrictPair
class SqlFilterRestartTest extends CompatTest {
    @Override
    Pair pair() {
        return Pair.strict();
    }

    @Test
    void aBrokerThatMayNotFilterByPropertiesSaysSo() throws Exception {
        String topic = newTopic("SqlOff", 1);
        allowFilters(false);
        try {
            DefaultMQPushConsumer consumer = newConsumer(unique("CG"), topic, "*");
            consumer.subscribe(topic, MessageSelector.bySql("a = 1"));
            consumer.registerMessageListener((MessageListenerConcurrently) new Received()::accept);
            MQClientException e = assertThrows(MQClientException.class, consumer::start);
            assertEquals(ResponseCode.SYSTEM_ERROR, e.getResponseCode());
            assertTrue(e.getMessage().contains("The broker does not support consumer to filter message by SQL92"), e.getMessage());
        } finally {
            allowFilters(true);
        }
    }

    private void allowFilters(boolean allowed) throws Exception {
        Properties change = new Properties();
        change.setProperty("enablePropertyFilter", "" + allowed);
        pair().admin.updateBrokerConfig(pair().brokerAddr(), change);
    }

    @Test
    void filtersSurviveARestartOfTheBroker() throws Exception {
        String topic = newTopic("SqlRestart", 2);
        String group = unique("CG");
        DefaultMQProducer producer = startProducer();
        SqlFilterTest.sendPriced(producer, topic, "");
        DefaultMQPushConsumer consumer = newConsumer(group, topic, "*");
        consumer.subscribe(topic, MessageSelector.bySql(SqlFilterTest.EXPRESSION));
        Received received = new Received();
        consumer.registerMessageListener((MessageListenerConcurrently) received::accept);
        consumer.start();
        received.awaitExactly(SqlFilterTest.WANTED);

        pair().broker.stop();
        Path file = Path.of(pair().broker.config.get("storePathRootDir"), "config", "consumerFilter.json");
        String saved = Files.readString(file);
        assertTrue(saved.contains(group) && saved.contains("price BETWEEN 2 AND 4"), saved);
        pair().broker.start();
        pair().awaitRegistered();

        SqlFilterTest.sendPriced(startProducer(), topic, "after-");
        List<String> after = SqlFilterTest.WANTED.stream().map(body -> "after-" + body).toList();
        received.awaitAll(after);
        assertTrue(received.bodies().stream().allMatch(body -> SqlFilterTest.WANTED.contains(body) || after.contains(body)),
            received.bodies()::toString);
    }
}
