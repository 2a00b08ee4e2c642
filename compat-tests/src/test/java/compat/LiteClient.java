package compat;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.lite.LiteSubscriptionAction;
import org.apache.rocketmq.common.lite.LiteSubscriptionDTO;
import org.apache.rocketmq.common.lite.OffsetOption;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.body.LiteSubscriptionCtlRequestBody;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.LiteSubscriptionCtlRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopLiteMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** A consumer of light topics as the proxy is one, by the requests that the stock client has for it. */
final class LiteClient {
    private static final long TIMEOUT = 20_000;

    final String clientId;
    private final Pair pair;
    private final MQClientAPIImpl api;
    private final String group;
    private final String topic;

    LiteClient(Pair pair, DefaultMQPullConsumer started, String clientId, String group, String topic) {
        this.pair = pair;
        this.api = started.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().getMQClientAPIImpl();
        this.clientId = clientId;
        this.group = group;
        this.topic = topic;
    }

    /** Makes the parent topic, and the group bound to it with these attributes, names and values in turn. */
    void createTopicAndGroup(String... attributes) throws Exception {
        TopicConfig config = new TopicConfig(topic, 1, 1, 6);
        config.setAttributes(Map.of("+message.type", "LITE"));
        pair.admin.createAndUpdateTopicConfig(pair.brokerAddr(), config);
        pair.awaitRoute(topic);
        SubscriptionGroupConfig bound = new SubscriptionGroupConfig();
        bound.setGroupName(group);
        bound.getAttributes().put("+lite.bind.topic", topic);
        for (int i = 0; i < attributes.length; i += 2) {
            bound.getAttributes().put("+" + attributes[i], attributes[i + 1]);
        }
        pair.admin.createAndUpdateSubscriptionGroupConfig(pair.brokerAddr(), bound);
    }

    /** Sends to the light topic before the dash, as the message of the number behind it, until clients can pop it. */
    static void send(Pair pair, DefaultMQProducer producer, String topic, String body) throws Exception {
        String liteTopic = body.substring(0, body.indexOf('-'));
        int offset = Integer.parseInt(body.substring(body.indexOf('-') + 1));
        Message message = CompatTest.message(topic, body);
        MessageAccessor.putProperty(message, MessageConst.PROPERTY_LITE_TOPIC, liteTopic);
        CompatTest.assertSent(producer.send(message));
        // A send is acknowledged before its queue has it, and a pop in between would leave it for the next batch.
        Await.until(body, () ->
            pair.admin.getLiteTopicInfo(pair.brokerAddr(), topic, liteTopic).getTopicOffset().getMaxOffset() > offset);
    }

    /** The response code. */
    int subscribe(LiteSubscriptionAction action, String... liteTopics) throws Exception {
        return subscribe(action, null, liteTopics);
    }

    int subscribe(LiteSubscriptionAction action, OffsetOption from, String... liteTopics) throws Exception {
        LiteSubscriptionDTO entry = new LiteSubscriptionDTO().setAction(action).setClientId(clientId).setGroup(group).setTopic(topic)
            .setLiteTopicSet(new HashSet<>(List.of(liteTopics)));
        entry.setOffsetOption(from);
        LiteSubscriptionCtlRequestBody body = new LiteSubscriptionCtlRequestBody();
        body.setSubscriptionSet(Set.of(entry));
        return control(body.encode());
    }

    int control(byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(RequestCode.LITE_SUBSCRIPTION_CTL, new LiteSubscriptionCtlRequestHeader());
        request.setBody(body);
        return api.getRemotingClient().invokeSync(pair.brokerAddr(), request, TIMEOUT).getCode();
    }

    PopLiteMessageRequestHeader header(long invisibleMillis, int count) {
        PopLiteMessageRequestHeader header = new PopLiteMessageRequestHeader();
        header.setClientId(clientId);
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setMaxMsgNum(count);
        header.setInvisibleTime(invisibleMillis);
        header.setPollTime(1_000);
        header.setBornTime(System.currentTimeMillis());
        return header;
    }

    /** What there is within a second, of all light topics. */
    List<MessageExt> pop(long invisibleMillis, int count) throws Exception {
        return pop(header(invisibleMillis, count)).get(TIMEOUT, TimeUnit.MILLISECONDS);
    }

    CompletableFuture<List<MessageExt>> pop(PopLiteMessageRequestHeader header) throws Exception {
        CompletableFuture<List<MessageExt>> result = new CompletableFuture<>();
        api.popLiteMessageAsync(pair.brokerName(), pair.brokerAddr(), header, TIMEOUT, new PopCallback() {
            @Override
            public void onSuccess(PopResult popped) {
                result.complete(popped.getPopStatus() == PopStatus.FOUND ? popped.getMsgFoundList() : List.of());
            }

            @Override
            public void onException(Throwable e) {
                result.completeExceptionally(e);
            }
        });
        return result;
    }

    AckMessageRequestHeader ackHeader(MessageExt message) {
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(0);
        header.setOffset(message.getQueueOffset());
        header.setExtraInfo(PopClient.handle(message));
        header.setLiteTopic(message.getProperty("__LITE_TOPIC"));
        return header;
    }

    boolean ack(MessageExt message) throws Exception {
        PopClient.Answer answer = new PopClient.Answer();
        api.ackLiteMessageAsync(pair.brokerAddr(), TIMEOUT, answer, ackHeader(message));
        return answer.get().getStatus() == AckStatus.OK;
    }

    /** The response code of an ack. */
    int ackCode(AckMessageRequestHeader header) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(RequestCode.ACK_MESSAGE, header);
        return api.getRemotingClient().invokeSync(pair.brokerAddr(), request, TIMEOUT).getCode();
    }

    /** Makes the message, or with {@code suspend} its whole batch, visible in so long; returns the new handle. */
    String changeInvisible(MessageExt message, long invisibleMillis, boolean suspend) throws Exception {
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(0);
        header.setOffset(message.getQueueOffset());
        header.setExtraInfo(PopClient.handle(message));
        header.setInvisibleTime(invisibleMillis);
        header.setLiteTopic(message.getProperty("__LITE_TOPIC"));
        header.setSuspend(suspend);
        PopClient.Answer answer = new PopClient.Answer();
        api.changeInvisibleTimeAsync(pair.brokerName(), pair.brokerAddr(), header, TIMEOUT, answer);
        return answer.get().getExtraInfo();
    }
}
