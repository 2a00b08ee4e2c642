package compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

/**
 * Popped messages change hands: one broker hands them out and stops, another takes acks with the old handles, brings back
 * the rest, hands out more and is killed, and the first goes on.
 *
 * <p>Which two is said in {@link ExchangeTest}.
 */
@Execution(ExecutionMode.CONCURRENT)
class PopExchangeTest extends ExchangeTest {
    private static final long INVISIBLE_MILLIS = 25_000;

    private final Set<String> acknowledgedTooLate = new TreeSet<>();
    /** All that was ever acknowledged, which may come again from the directory of a Java broker that was killed. */
    private final Set<String> acknowledged = new TreeSet<>();
    private PopClient client;

    @ParameterizedTest
    @MethodSource("pairs")
    void poppedMessagesComeBackFromWhoeverHasTheStoreUnlessAcknowledged(Kind first, Kind second) throws Exception {
        begin(first, "pop-" + first + "-" + second, Pair.SMALL_FILES);
        String topic = newTopic("PopExchange", 1);
        String group = unique("PopCG");
        Set<String> away = new TreeSet<>(sendMany(startProducer(), topic, "m", 6));
        client = new PopClient(pair, startPuller(), group, topic);
        List<MessageExt> popped = popAll(away);
        ack(popped.get(0), away);
        broker.stop();

        continueWith(second);
        client = new PopClient(pair, startPuller(), group, topic);
        ack(popped.get(1), away);
        List<MessageExt> again = popAll(away);
        ack(again.get(0), away);
        if (first == Kind.JAVA || second == Kind.JAVA) {
            // A Java broker knows what was popped from the offsets alone, which both write every five seconds.
            Await.pause(7_000);
        }
        broker.kill();

        continueWith(first);
        client = new PopClient(pair, startPuller(), group, topic);
        ack(again.get(1), away);
        if (second == Kind.JAVA) {
            // Killed a few seconds behind with its offsets, it hands out again what was acknowledged or has come back already.
            Await.until(() -> away + " and what was acknowledged", Await.LIMIT, () -> {
                List<MessageExt> come = client.pop(INVISIBLE_MILLIS);
                Set<String> known = new TreeSet<>(acknowledged);
                known.addAll(away);
                assertTrue(known.containsAll(PopTest.bodiesOf(come)), "never sent: " + come);
                for (MessageExt message : come) {
                    ack(message, away);
                }
                return away.isEmpty();
            });
            return;
        }
        List<MessageExt> last = popAll(away);
        assertTrue(last.stream().allMatch(message -> message.getReconsumeTimes() == 2));
        for (MessageExt message : last) {
            ack(message, away);
        }
        Await.pause(2_000);
        List<MessageExt> rest = client.pop(INVISIBLE_MILLIS);
        assertTrue(acknowledgedTooLate.containsAll(PopTest.bodiesOf(rest)), "acknowledged and back: " + rest);
    }

    /** Pops all that are away and nothing else, in the order of their bodies. */
    private List<MessageExt> popAll(Set<String> away) throws Exception {
        List<MessageExt> popped = new ArrayList<>();
        Await.until(() -> away + ", got " + PopTest.bodiesOf(popped), Await.LIMIT, () -> {
            popped.addAll(client.pop(INVISIBLE_MILLIS));
            return PopTest.bodiesOf(popped).containsAll(away);
        });
        popped.removeIf(message -> acknowledgedTooLate.contains(body(message)));
        assertEquals(List.copyOf(away), popped.stream().map(CompatTest::body).sorted().collect(Collectors.toList()));
        popped.sort((a, b) -> body(a).compareTo(body(b)));
        return popped;
    }

    /** Acknowledges a message, which is then away no more; if its time was up before, on a busy machine, it may come back. */
    private void ack(MessageExt message, Set<String> away) throws Exception {
        assertTrue(client.ack(message));
        away.remove(body(message));
        acknowledged.add(body(message));
        String[] handle = ExtraInfoUtil.split(PopClient.handle(message));
        long due = ExtraInfoUtil.getPopTime(handle) + ExtraInfoUtil.getInvisibleTime(handle);
        if (System.currentTimeMillis() > due - 2_000) {
            acknowledgedTooLate.add(body(message));
        }
    }
}
