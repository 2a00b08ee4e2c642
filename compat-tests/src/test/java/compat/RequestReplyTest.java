package compat;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

/** Request and reply: the broker pushes the reply to the producer that asked. */
class RequestReplyTest extends CompatTest {
    @Test
    void aRequestIsAnsweredByAConsumer() throws Exception {
        String topic = newTopic("Request", 2);
        startReplier(topic);
        DefaultMQProducer producer = startProducer();

        Message reply = producer.request(message(topic, "how much?"), 60_000);

        assertEquals("re: how much?", new String(reply.getBody()));
    }

    @Test
    void anAsyncRequestIsAnsweredThroughItsCallback() throws Exception {
        String topic = newTopic("RequestAsync", 2);
        startReplier(topic);
        CompletableFuture<Message> answer = new CompletableFuture<>();

        startProducer().request(message(topic, "when?"), new RequestCallback() {
            @Override
            public void onSuccess(Message reply) {
                // The stock client also calls this, with null, when the request has been sent.
                if (reply != null) {
                    answer.complete(reply);
                }
            }

            @Override
            public void onException(Throwable e) {
                answer.completeExceptionally(e);
            }
        }, 60_000);

        assertEquals("re: when?", new String(answer.get(90, TimeUnit.SECONDS).getBody()));
    }

    @Test
    void aRequestNobodyAnswersTimesOut() throws Exception {
        String topic = newTopic("RequestNobody", 1);
        DefaultMQProducer producer = startProducer();
        assertThrows(RequestTimeoutException.class, () -> producer.request(message(topic, "anyone?"), 2_000));
    }

    private void startReplier(String topic) throws Exception {
        DefaultMQProducer replier = startProducer();
        DefaultMQPushConsumer consumer = newConsumer(unique("CG"), topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            try {
                for (MessageExt message : messages) {
                    assertSent(replier.send(MessageUtil.createReplyMessage(message, ("re: " + body(message)).getBytes())));
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        consumer.start();
    }
}
