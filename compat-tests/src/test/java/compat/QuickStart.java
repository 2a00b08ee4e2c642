package compat;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The README's first example: the stock client sends one message and receives it. Argument: the NameServer's address. */
public final class QuickStart {
    public static void main(String[] args) throws Exception {
        String text = "hello " + System.currentTimeMillis();
        CountDownLatch received = new CountDownLatch(1);

        DefaultMQProducer producer = new DefaultMQProducer("QuickStartProducer");
        producer.setNamesrvAddr(args[0]);
        producer.start();
        System.out.println("sent:     " + producer.send(new Message("QuickStart", text.getBytes(StandardCharsets.UTF_8))));

        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("QuickStartConsumer");
        consumer.setNamesrvAddr(args[0]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe("QuickStart", "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : (List<MessageExt>) messages) {
                String body = new String(message.getBody(), StandardCharsets.UTF_8);
                System.out.println("received: " + body);
                if (body.equals(text)) {
                    received.countDown();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();

        boolean ok = received.await(60, TimeUnit.SECONDS);
        consumer.shutdown();
        producer.shutdown();
        if (!ok) {
            System.err.println("the message did not come back within a minute");
            System.exit(1);
        }
    }

    private QuickStart() {
    }
}
