package compat;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;

/**
 * Pops as the proxy does, by the client's own requests: a push consumer pops out of order only, and acknowledges by itself.
 */
final class PopClient {
    private static final long TIMEOUT = 20_000;

    private final Pair pair;
    private final MQClientAPIImpl api;
    private final String group;
    private final String topic;

    PopClient(Pair pair, DefaultMQPullConsumer started, String group, String topic) {
        this.pair = pair;
        this.api = started.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().getMQClientAPIImpl();
        this.group = group;
        this.topic = topic;
    }

    /** Up to 32 messages of any queue, oldest first for a new group; what there is at once. */
    List<MessageExt> pop(long invisibleMillis) throws Exception {
        return pop(header(invisibleMillis));
    }

    /** In order, of queue 0. */
    List<MessageExt> popInOrder(long invisibleMillis, int count) throws Exception {
        PopMessageRequestHeader header = header(invisibleMillis);
        header.setQueueId(0);
        header.setMaxMsgNums(count);
        header.setOrder(true);
        return pop(header);
    }

    private PopMessageRequestHeader header(long invisibleMillis) {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        header.setMaxMsgNums(32);
        header.setInvisibleTime(invisibleMillis);
        header.setPollTime(500);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(0);
        header.setExpType("TAG");
        header.setExp("*");
        header.setOrder(false);
        return header;
    }

    private List<MessageExt> pop(PopMessageRequestHeader header) throws Exception {
        CompletableFuture<PopResult> result = new CompletableFuture<>();
        api.popMessageAsync(pair.brokerName(), pair.brokerAddr(), header, TIMEOUT, new PopCallback() {
            @Override
            public void onSuccess(PopResult popped) {
                result.complete(popped);
            }

            @Override
            public void onException(Throwable e) {
                result.completeExceptionally(e);
            }
        });
        PopResult popped = result.get(TIMEOUT, TimeUnit.MILLISECONDS);
        return popped.getPopStatus() == PopStatus.FOUND ? popped.getMsgFoundList() : List.of();
    }

    boolean ack(MessageExt message) throws Exception {
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        String[] handle = ExtraInfoUtil.split(handle(message));
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(handle, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(handle));
        header.setOffset(ExtraInfoUtil.getQueueOffset(handle));
        header.setExtraInfo(handle(message));
        Answer answer = new Answer();
        api.ackMessageAsync(pair.brokerAddr(), TIMEOUT, answer, header);
        return answer.get().getStatus() == AckStatus.OK;
    }

    /** Acknowledges several messages of the topic by one request. */
    boolean ackAll(List<MessageExt> messages) throws Exception {
        Answer answer = new Answer();
        List<String> handles = messages.stream().map(PopClient::handle).collect(Collectors.toList());
        api.batchAckMessageAsync(pair.brokerAddr(), TIMEOUT, answer, topic, group, handles);
        return answer.get().getStatus() == AckStatus.OK;
    }

    /** Makes the message visible in so long; returns its new handle. */
    String changeInvisible(MessageExt message, long invisibleMillis) throws Exception {
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        String[] handle = ExtraInfoUtil.split(handle(message));
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(handle, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(handle));
        header.setOffset(ExtraInfoUtil.getQueueOffset(handle));
        header.setExtraInfo(handle(message));
        header.setInvisibleTime(invisibleMillis);
        Answer answer = new Answer();
        api.changeInvisibleTimeAsync(pair.brokerName(), pair.brokerAddr(), header, TIMEOUT, answer);
        return answer.get().getExtraInfo();
    }

    static String handle(MessageExt message) {
        return message.getProperty(MessageConst.PROPERTY_POP_CK);
    }

    /** What an ack or a changed invisible time is answered with. */
    static final class Answer implements AckCallback {
        private final CompletableFuture<AckResult> result = new CompletableFuture<>();

        AckResult get() throws Exception {
            return result.get(TIMEOUT, TimeUnit.MILLISECONDS);
        }

        @Override
        public void onSuccess(AckResult acked) {
            result.complete(acked);
        }

        @Override
        public void onException(Throwable e) {
            result.completeExceptionally(e);
        }
    }
}
