import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** Starts and effects of a run of prove, and the trouble that each message makes. */
final class Journal {
    private static final Map<String, Integer> PASSES = new ConcurrentHashMap<>();
    private static final String CRASH_AT = System.getenv().getOrDefault("ACKONCE_CRASH_AT", "");
    private static final long PID = ProcessHandle.current().pid();

    private Journal() {}

    private static long micros() {
        return ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
    }

    /** One write: lines of several processes do not mix. The newline before it ends a line that a kill has torn. */
    private static void append(Path path, String line) throws IOException {
        byte[] bytes = ("\n" + line + "\n").getBytes(StandardCharsets.UTF_8);
        Files.write(path, bytes, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    private static void journal(String file, String id, int attempt, long claimed, long at) throws IOException {
        String line = "{\"id\":\"%s\",\"key\":\"%s\",\"attempt\":%d,\"fence\":%d,\"pid\":%d,\"at\":%d}";
        append(Path.of(System.getenv("PROVE_DIR"), file), line.formatted(id, id, attempt, claimed, PID, at));
    }

    /** A named point: the harness may have this process die at its n-th pass. */
    private static void point(String name) throws Exception {
        if (CRASH_AT.equals(name + ":" + PASSES.merge(name, 1, Integer::sum))) {
            String hit = "{\"pid\":%d,\"point\":\"%s\",\"stops\":false,\"at\":%d}".formatted(PID, name, micros());
            append(Path.of(System.getenv("ACKONCE_POINT_LOG")), hit);
            new ProcessBuilder("kill", "-9", Long.toString(PID)).start();
            Thread.sleep(Long.MAX_VALUE);
        }
    }

    /** The handler of every rival: an effect between two points. */
    static void handle(String id, boolean redelivered) throws Exception {
        int number = Integer.parseInt(id.substring(1));
        int attempt = redelivered ? 2 : 1;
        long claimed = micros();
        journal("starts.jsonl", id, attempt, claimed, claimed);
        if (number % 401 == 11) {
            return; // refused: without an effect
        }
        if (!redelivered && (number % 211 == 7 || number % 97 == 5)) {
            throw new IllegalStateException("fails once, as planned");
        }
        Thread.sleep(2);
        point("before-effect");
        journal("effects.jsonl", id, attempt, claimed, micros());
        point("after-effect");
        Thread.sleep(2);
    }
}
