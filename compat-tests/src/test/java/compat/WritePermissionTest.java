package compat;

import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.ResourceLock;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** mqadmin wipeWritePerm and addWritePerm, which change all topics of a broker at the name server. */
@StrictPair
@ResourceLock(MqAdmin.LOCK)
class WritePermissionTest extends CompatTest {
    @Override
    Pair pair() {
        return Pair.strict();
    }

    @Test
    @Tag("mixed")
    void aBrokerWithoutWritePermissionGetsNoMessagesUntilItIsGivenBack() throws Exception {
        String topic = newTopic("WritePerm", 1);
        MqAdmin mqadmin = new MqAdmin(pair());
        DefaultMQProducer before = startProducer();
        assertSent(before.send(message(topic, "m")));

        int wiped = countOf(mqadmin.run("wipeWritePerm", "-b", pair().brokerName()), "wipe");
        assertTrue(wiped > 5, wiped + " topics");
        assertEquals(4, pair().awaitRoute(topic).getPerm());
        DefaultMQProducer during = startProducer();
        assertThrows(MQClientException.class, () -> during.send(message(topic, "m")));

        int added = countOf(mqadmin.run("addWritePerm", "-b", pair().brokerName()), "add");
        assertTrue(added > 5, added + " topics");
        assertEquals(6, pair().awaitRoute(topic).getPerm());
        assertSent(startProducer().send(message(topic, "m")));
    }

    private int countOf(MqAdmin.Output output, String verb) {
        String line = verb + " write perm of broker[" + pair().brokerName() + "] in name server[" + pair().namesrvAddr() + "] OK, ";
        output.assertHas(line);
        return Integer.parseInt(output.out.substring(output.out.indexOf(line) + line.length()).trim());
    }
}
