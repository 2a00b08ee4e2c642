package compat;

/** Which implementation a server is: the stock Java one from the class path, or the Rust binary. */
enum Kind {
    JAVA, RUST;

    /** The value of a system property such as {@code -Dbroker=rust}; {@code otherwise} when it is not set. */
    static Kind of(String property, Kind otherwise) {
        String value = System.getProperty(property, "");
        return value.isEmpty() ? otherwise : valueOf(value.toUpperCase());
    }

    static Kind namesrv() {
        return of("namesrv", JAVA);
    }

    static Kind broker() {
        return of("broker", JAVA);
    }
}
