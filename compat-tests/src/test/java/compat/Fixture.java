package compat;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import com.github.luben.zstd.ZstdInputStream;
import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.LinkedHashMap;
import java.util.Map;

/** A store directory written by the Java 5.5.0 broker, with the list of what it must contain. */
final class Fixture {
    private static final Path DIRECTORY = Paths.get("fixtures");
    private static final int BLOCK = 512;

    final JSONObject contents;
    private final Path archive;

    private Fixture(String name) throws IOException {
        contents = JSON.parseObject(Files.readString(DIRECTORY.resolve(name + ".json")));
        archive = DIRECTORY.resolve(name + ".tar.zst");
    }

    static Fixture cleanlyStopped() throws IOException {
        return new Fixture("fixture-java-5.5.0");
    }

    static Fixture crashed() throws IOException {
        return new Fixture("fixture-java-5.5.0-crashed");
    }

    /** The properties the store was written with; the sizes are not recorded in its files. */
    Map<String, String> openWith() {
        Map<String, String> config = new LinkedHashMap<>();
        contents.getJSONObject("openWith").forEach((key, value) -> config.put(key, value.toString()));
        return config;
    }

    /** Unpacks the archive, whose one top directory is {@code store}. */
    void unpackInto(Path directory) throws IOException {
        try (InputStream tar = new BufferedInputStream(new ZstdInputStream(Files.newInputStream(archive)))) {
            String longName = null;
            byte[] header = new byte[BLOCK];
            while (tar.readNBytes(header, 0, BLOCK) == BLOCK && header[0] != 0) {
                byte[] data = readPadded(tar, (int) Long.parseLong(text(header, 124, 12), 8));
                char type = (char) header[156];
                if (type == 'L') {
                    longName = text(data, 0, data.length);
                    continue;
                }
                Path target = directory.resolve(longName != null ? longName : text(header, 0, 100)).normalize();
                longName = null;
                if (!target.startsWith(directory)) {
                    throw new IOException("entry outside the directory: " + target);
                }
                if (type == '5') {
                    Files.createDirectories(target);
                } else {
                    Files.createDirectories(target.getParent());
                    Files.write(target, data);
                }
            }
        }
    }

    private static byte[] readPadded(InputStream in, int size) throws IOException {
        byte[] data = in.readNBytes(size);
        if (data.length < size) {
            throw new EOFException("the archive ends inside an entry");
        }
        in.skipNBytes((BLOCK - size % BLOCK) % BLOCK);
        return data;
    }

    private static String text(byte[] bytes, int from, int length) {
        int end = from;
        while (end < from + length && bytes[end] != 0) {
            end++;
        }
        return new String(bytes, from, end - from, StandardCharsets.UTF_8).trim();
    }
}
