package compat;

import java.nio.file.Files;
import org.junit.jupiter.api.Test;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** The vectors that the Rust evaluator is tested against are what the reference's evaluator says. No servers. */
class SqlVectorsTest {
    /** With {@code -Dvectors.write=true} the file is written anew: {@code scripts/compat java -Dtest=SqlVectorsTest -Dvectors.write=true}. */
    @Test
    void theVectorsAreThoseOfTheReference() throws Exception {
        String text = SqlVectors.text();
        if (Boolean.getBoolean("vectors.write")) {
            Files.writeString(SqlVectors.FILE, text);
        }
        assertEquals(Files.readString(SqlVectors.FILE), text);
    }
}
