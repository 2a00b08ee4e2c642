package compat;

import java.util.Map;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * The servers of a test class that configures, stops or kills them: started before its first test and disposed of after its last.
 *
 * <pre>
 * &#64;RegisterExtension
 * static final OwnPair SERVERS = new OwnPair("lite", Map.of("enableLmq", "true"));
 * </pre>
 */
final class OwnPair implements BeforeAllCallback, AfterAllCallback {
    private final String name;
    private final Map<String, String> brokerConfig;
    private Pair pair;

    OwnPair(String name, Map<String, String> brokerConfig) {
        this.name = name;
        this.brokerConfig = brokerConfig;
    }

    Pair pair() {
        return pair;
    }

    @Override
    public void beforeAll(ExtensionContext context) {
        pair = Pair.start(name, brokerConfig);
    }

    @Override
    public void afterAll(ExtensionContext context) {
        pair.dispose();
    }
}
