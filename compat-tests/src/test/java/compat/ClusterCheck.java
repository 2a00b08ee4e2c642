package compat;

import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * The stock client against a cluster that is already there. Arguments: {@code write} or {@code read}, the NameServers, a topic
 * that exists on every broker, the number of messages, the number of brokers.
 *
 * <p>{@code write} sends them, each broker getting its share, and receives them; {@code read} receives what was written
 * earlier, with a new group, which shows that a restart lost nothing.
 */
public final class ClusterCheck {
    private static final long LIMIT_SECONDS = 120;

    public static void main(String[] args) throws Exception {
        String namesrvAddr = args[1];
        String topic = args[2];
        int count = Integer.parseInt(args[3]);
        if (args[0].equals("write")) {
            Set<String> brokers = write(namesrvAddr, topic, count);
            System.out.println("sent " + count + " messages to " + brokers);
            require(brokers.size() == Integer.parseInt(args[4]), "not every broker got messages: " + brokers);
        }
        Set<String> received = read(namesrvAddr, topic, count);
        System.out.println("received " + received.size() + " of " + count + " messages");
        require(received.size() == count, "messages are missing");
        System.exit(0);
    }

    private static Set<String> write(String namesrvAddr, String topic, int count) throws Exception {
        Set<String> brokers = new TreeSet<>();
        DefaultMQProducer producer = new DefaultMQProducer("ClusterCheckProducer");
        producer.setNamesrvAddr(namesrvAddr);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        for (int i = 0; i < count; i++) {
            SendResult result = producer.send(new Message(topic, ("message " + i).getBytes(StandardCharsets.UTF_8)));
            require(result.getSendStatus() == SendStatus.SEND_OK, result.toString());
            brokers.add(result.getMessageQueue().getBrokerName());
        }
        producer.shutdown();
        return brokers;
    }

    private static Set<String> read(String namesrvAddr, String topic, int count) throws Exception {
        Set<String> received = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("ClusterCheck" + System.currentTimeMillis());
        consumer.setNamesrvAddr(namesrvAddr);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> received.add(new String(message.getBody(), StandardCharsets.UTF_8)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_SECONDS);
        while (received.size() < count && System.nanoTime() < deadline) {
            Thread.sleep(100);
        }
        consumer.shutdown();
        return received;
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            System.err.println(otherwise);
            System.exit(1);
        }
    }

    private ClusterCheck() {
    }
}
