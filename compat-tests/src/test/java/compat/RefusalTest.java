package compat;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.CommunicationMode;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.RemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.SendMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** What the servers refuse, with the codes and words clients and people look for. */
@StrictPair
class RefusalTest extends CompatTest {
    @Override
    Pair pair() {
        return Pair.strict();
    }

    @Test
    void anUnknownTopicHasNoRouteWhenTopicsAreNotCreated() throws Exception {
        String topic = unique("Unknown");
        DefaultMQProducer producer = startProducer();
        MQClientException e = assertThrows(MQClientException.class, () -> producer.send(message(topic, "m")));
        assertTrue(e.getMessage().startsWith("No route info of this topic: " + topic), e.getMessage());
    }

    @Test
    void theBrokerItselfRefusesAnUnknownTopic() throws Exception {
        String topic = unique("Unknown");
        DefaultMQProducer producer = startProducer();
        assertSent(producer.send(message(newTopic("Known", 1), "so that the producer knows the broker")));
        MQBrokerException e = assertThrows(MQBrokerException.class, () -> producer.send(message(topic, "m"), queue(topic, 0)));
        assertEquals(ResponseCode.TOPIC_NOT_EXIST, e.getResponseCode());
        assertTrue(e.getErrorMessage().startsWith("topic[" + topic + "] not exist, apply first please!"), e.getErrorMessage());
    }

    @Test
    void aMessageLargerThanTheBrokerAllowsIsIllegal() throws Exception {
        String topic = newTopic("TooLarge", 1);
        DefaultMQProducer producer = newProducer();
        producer.setMaxMessageSize(8 * 1024 * 1024);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.start();
        MQBrokerException e = assertThrows(MQBrokerException.class,
            () -> producer.send(new Message(topic, new byte[4 * 1024 * 1024 + 1])));
        assertEquals(ResponseCode.MESSAGE_ILLEGAL, e.getResponseCode());
        assertEquals(13, e.getResponseCode());
        assertTrue(e.getErrorMessage().startsWith("the message is illegal, maybe msg body or properties length not matched."),
            e.getErrorMessage());
        assertSent(producer.send(message(topic, "the connection still works")));
    }

    @Test
    void aTopicWithoutWritePermissionHasNoQueueToSendTo() throws Exception {
        String topic = unique("ReadOnly");
        createTopic(topic, 1, 4);
        DefaultMQProducer producer = startProducer();
        MQClientException e = assertThrows(MQClientException.class, () -> producer.send(message(topic, "m")));
        assertTrue(e.getMessage().startsWith("No route info of this topic: " + topic), e.getMessage());
    }

    @Test
    void aTopicWithoutReadPermissionIsNotPulledFrom() throws Exception {
        String topic = unique("WriteOnly");
        createTopic(topic, 1, 2);
        assertSent(startProducer().send(message(topic, "m")));
        DefaultMQPullConsumer puller = startPuller();
        MQBrokerException e = assertThrows(MQBrokerException.class, () -> puller.pull(queue(topic, 0), "*", 0, 1));
        assertEquals(16, e.getResponseCode());
        assertTrue(e.getErrorMessage().startsWith("the topic[" + topic + "] pulling message is forbidden"), e.getErrorMessage());
    }

    @Test
    void aGroupThatMayNotConsumeIsNotServed() throws Exception {
        String topic = newTopic("GroupForbidden", 1);
        DefaultMQPullConsumer puller = startPuller();
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(puller.getConsumerGroup());
        group.setConsumeEnable(false);
        pair().admin.createAndUpdateSubscriptionGroupConfig(pair().brokerAddr(), group);
        MQBrokerException e = assertThrows(MQBrokerException.class, () -> puller.pull(queue(topic, 0), "*", 0, 1));
        assertEquals(16, e.getResponseCode());
        assertTrue(e.getErrorMessage().startsWith("subscription group no permission, " + group.getGroupName()), e.getErrorMessage());
    }

    /** Whatever waits for messages is served by the main port alone; what follows it, acks for instance, by both. */
    @Test
    void theVipChannelHandsOutNoMessages() throws Exception {
        DefaultMQProducer producer = startProducer();
        RemotingClient client = producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl().getRemotingClient();
        String vip = MixAll.brokerVIPChannel(true, pair().brokerAddr());
        for (int code : new int[] {RequestCode.PULL_MESSAGE, RequestCode.LITE_PULL_MESSAGE, RequestCode.PEEK_MESSAGE,
            RequestCode.POP_MESSAGE, RequestCode.NOTIFICATION, RequestCode.POLLING_INFO, RequestCode.POP_LITE_MESSAGE}) {
            RemotingCommand answer = client.invokeSync(vip, RemotingCommand.createRequestCommand(code, null), 15_000);
            assertEquals(ResponseCode.REQUEST_CODE_NOT_SUPPORTED, answer.getCode(), "code " + code);
            assertEquals(" request type " + code + " not supported", answer.getRemark());
        }
        // Without their headers they are refused, but not as unknown.
        for (int code : new int[] {RequestCode.ACK_MESSAGE, RequestCode.CHANGE_MESSAGE_INVISIBLETIME, RequestCode.QUERY_ASSIGNMENT,
            RequestCode.LITE_SUBSCRIPTION_CTL, RequestCode.END_TRANSACTION}) {
            RemotingCommand answer = client.invokeSync(vip, RemotingCommand.createRequestCommand(code, null), 15_000);
            assertNotEquals(ResponseCode.REQUEST_CODE_NOT_SUPPORTED, answer.getCode(), "code " + code);
        }
    }

    @Test
    void aSystemTopicTakesNoMessagesFromClients() throws Exception {
        DefaultMQProducer producer = startProducer();
        SendMessageRequestHeader header = new SendMessageRequestHeader();
        header.setProducerGroup(producer.getProducerGroup());
        header.setTopic("SCHEDULE_TOPIC_XXXX");
        header.setDefaultTopic("TBW102");
        header.setDefaultTopicQueueNums(4);
        header.setQueueId(0);
        header.setSysFlag(0);
        header.setBornTimestamp(System.currentTimeMillis());
        header.setFlag(0);
        header.setProperties("");
        header.setReconsumeTimes(0);
        header.setUnitMode(false);
        header.setBatch(false);
        header.setMaxReconsumeTimes(16);
        // The producer's own check comes first in send(): speak to the broker below it.
        MQBrokerException e = assertThrows(MQBrokerException.class, () ->
            producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl().sendMessage(pair().brokerAddr(),
                pair().brokerName(), message("SCHEDULE_TOPIC_XXXX", "m"), header, 15_000, CommunicationMode.SYNC, null, null));
        assertEquals(16, e.getResponseCode());
        assertTrue(e.getErrorMessage().startsWith("Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden."), e.getErrorMessage());
    }
}
