package compat;

import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/**
 * Stands before a NameServer and a broker and passes everything on, but swallows the next answers to sends when it is told
 * to. Routes name the proxy in place of the broker; both addresses have the same length, so no frame changes its own.
 */
final class LossyProxy implements AutoCloseable {
    /** SEND_MESSAGE_V2, what every 5.x producer sends. */
    private static final int SEND_MESSAGE_V2 = 310;

    private final ServerSocket namesrvFront = listen();
    private final ServerSocket brokerFront = listen();
    private final String broker;
    private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
    private final AtomicInteger toSwallow = new AtomicInteger();
    final AtomicInteger swallowed = new AtomicInteger();

    LossyProxy(String namesrv, String broker) throws IOException {
        this.broker = broker;
        run(() -> accept(namesrvFront, namesrv));
        run(() -> accept(brokerFront, broker));
    }

    /** What the client's NameServer must be. */
    String namesrvAddr() {
        return address(namesrvFront);
    }

    void swallowNextAnswers(int count) {
        toSwallow.set(count);
    }

    private static ServerSocket listen() throws IOException {
        return new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
    }

    private static String address(ServerSocket front) {
        return "127.0.0.1:" + front.getLocalPort();
    }

    private void accept(ServerSocket front, String target) throws IOException {
        while (true) {
            Socket client = front.accept();
            sockets.add(client);
            String[] hostAndPort = target.split(":");
            Socket server = new Socket(hostAndPort[0], Integer.parseInt(hostAndPort[1]));
            sockets.add(server);
            Set<Integer> sends = ConcurrentHashMap.newKeySet();
            run(() -> pass(client, server, frame -> {
                if (frame.getCode() == SEND_MESSAGE_V2) {
                    sends.add(frame.getOpaque());
                }
                return true;
            }));
            run(() -> pass(server, client, frame -> !sends.remove(frame.getOpaque()) || !swallow()));
        }
    }

    private boolean swallow() {
        boolean swallows = toSwallow.getAndUpdate(left -> Math.max(0, left - 1)) > 0;
        if (swallows) {
            swallowed.incrementAndGet();
        }
        return swallows;
    }

    private interface Sieve {
        boolean passes(RemotingCommand frame);
    }

    private void pass(Socket from, Socket to, Sieve sieve) throws IOException {
        DataInputStream in = new DataInputStream(from.getInputStream());
        OutputStream out = to.getOutputStream();
        while (true) {
            byte[] frame = new byte[in.readInt()];
            in.readFully(frame);
            if (sieve.passes(decoded(frame))) {
                byte[] passed = withProxyForBroker(frame);
                out.write(ByteBuffer.allocate(4 + passed.length).putInt(passed.length).put(passed).array());
                out.flush();
            }
        }
    }

    private static RemotingCommand decoded(byte[] frame) throws IOException {
        try {
            return RemotingCommand.decode(ByteBuffer.wrap(frame));
        } catch (Exception e) {
            throw new IOException("a frame cannot be read", e);
        }
    }

    private byte[] withProxyForBroker(byte[] frame) {
        String text = new String(frame, StandardCharsets.ISO_8859_1);
        String front = address(brokerFront);
        if (front.length() != broker.length()) {
            throw new AssertionError(front + " and " + broker + " differ in length");
        }
        return text.replace(broker, front).getBytes(StandardCharsets.ISO_8859_1);
    }

    private interface Work {
        void run() throws IOException;
    }

    private static void run(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (IOException e) {
                // The connection or the proxy was closed.
            }
        }, "lossy-proxy");
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void close() throws IOException {
        namesrvFront.close();
        brokerFront.close();
        for (Socket socket : sockets) {
            socket.close();
        }
    }
}
