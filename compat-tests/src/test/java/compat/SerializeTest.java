package compat;

import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** Clients that write their headers in the compact ROCKETMQ encoding instead of JSON. */
class SerializeTest extends CompatTest {
    @Test
    @Tag("mixed")
    void aClientThatSpeaksTheCompactHeaderEncodingSendsAndConsumes() throws Exception {
        String topic = newTopic("Serialize", 2);
        ChildClient child = ChildClient.roundtrip(pair().namesrvAddr(), unique("CG"), topic, 10,
            "-Drocketmq.serialize.type=ROCKETMQ");
        closeLater(child::kill);

        List<String> sent = IntStream.range(0, 10).mapToObj(i -> "child-" + i).collect(Collectors.toList());
        List<String> consumedThere = child.awaitOutput().stream().filter(line -> line.startsWith("child-")).sorted()
            .collect(Collectors.toList());
        assertEquals(sent, consumedThere);
        consume(unique("CG"), topic, "*").awaitExactly(sent);
    }
}
