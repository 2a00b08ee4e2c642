package compat;

import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.function.Supplier;

/** Waiting for a condition: checked often, given up late, so that a slow machine is only slow. */
final class Await {
    /** Long enough for a rebalance that missed its notification (20 s) on a busy machine. */
    static final Duration LIMIT = Duration.ofSeconds(90);

    private Await() {
    }

    static void until(String what, Callable<Boolean> condition) {
        until(what, LIMIT, condition);
    }

    static void until(String what, Duration limit, Callable<Boolean> condition) {
        until(() -> what, limit, condition);
    }

    /** {@code what} is asked only on failure, so it may describe the state then. An exception counts as "not yet". */
    static void until(Supplier<String> what, Duration limit, Callable<Boolean> condition) {
        long deadline = System.nanoTime() + limit.toNanos();
        Exception last = null;
        while (true) {
            try {
                if (condition.call()) {
                    return;
                }
                last = null;
            } catch (InterruptedException e) {
                throw new AssertionError("interrupted while waiting for " + what.get(), e);
            } catch (Exception e) {
                last = e;
            }
            if (System.nanoTime() > deadline) {
                throw new AssertionError("waited " + limit.toSeconds() + " s for " + what.get(), last);
            }
            pause(50);
        }
    }

    /** Lets time pass; never a substitute for {@link #until}. */
    static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            throw new AssertionError("interrupted", e);
        }
    }
}
