package compat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Reads what a broker has stored through the stock client, in a form that can be compared. */
final class StoreReader {
    private final Pair pair;
    private final DefaultMQPullConsumer puller;

    StoreReader(Pair pair, DefaultMQPullConsumer puller) {
        this.pair = pair;
        this.puller = puller;
    }

    /** The messages of one queue between these offsets. */
    List<MessageExt> pull(MessageQueue queue, long from, long to) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        long offset = from;
        while (offset < to) {
            PullResult result = puller.pull(queue, "*", offset, 32, 15_000);
            if (result.getPullStatus() == PullStatus.FOUND) {
                result.getMsgFoundList().stream().filter(message -> message.getQueueOffset() < to).forEach(messages::add);
            }
            if (result.getNextBeginOffset() <= offset) {
                break;
            }
            offset = result.getNextBeginOffset();
        }
        return messages;
    }

    /** The record at a physical offset. The address inside an offset message id is that of the broker that wrote it. */
    MessageExt view(String topic, String offsetMsgId) throws Exception {
        long physicalOffset = Long.parseLong(offsetMsgId.substring(offsetMsgId.length() - 16), 16);
        return puller.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().getMQClientAPIImpl()
            .viewMessage(pair.brokerAddr(), topic, physicalOffset, 15_000);
    }

    /** Everything a message carries, by the names the fixtures use; what depends on the moment of reading is left out. */
    static Map<String, Object> describe(MessageExt message) {
        Map<String, Object> fields = new TreeMap<>();
        fields.put("queueOffset", message.getQueueOffset());
        fields.put("commitLogOffset", message.getCommitLogOffset());
        fields.put("storeSize", message.getStoreSize());
        fields.put("msgId", message.getMsgId());
        fields.put("sysFlag", message.getSysFlag());
        fields.put("flag", message.getFlag());
        fields.put("bodyCRC", Integer.toUnsignedLong(message.getBodyCRC()));
        fields.put("bornTimestamp", message.getBornTimestamp());
        fields.put("storeTimestamp", message.getStoreTimestamp());
        fields.put("reconsumeTimes", message.getReconsumeTimes());
        fields.put("preparedTransactionOffset", message.getPreparedTransactionOffset());
        if (message.getTags() != null) {
            fields.put("tags", message.getTags());
        }
        if (message.getKeys() != null) {
            fields.put("keys", message.getKeys());
        }
        byte[] body = message.getBody();
        if (body != null && body.length <= 256) {
            fields.put("body", new String(body, StandardCharsets.UTF_8));
        } else if (body != null) {
            fields.put("bodyLen", body.length);
        }
        fields.put("properties", lasting(message.getProperties()));
        return fields;
    }

    /** Properties without those the client adds from the answer it read. */
    static Map<String, Object> lasting(Map<String, ?> properties) {
        Map<String, Object> lasting = new TreeMap<>(properties);
        lasting.remove(MessageConst.PROPERTY_MIN_OFFSET);
        lasting.remove(MessageConst.PROPERTY_MAX_OFFSET);
        return lasting;
    }
}
