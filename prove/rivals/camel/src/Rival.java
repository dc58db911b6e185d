import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DeliverCallback;
import java.sql.SQLException;
import java.util.concurrent.CountDownLatch;
import org.apache.camel.CamelContext;
import org.apache.camel.Exchange;
import org.apache.camel.ProducerTemplate;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.impl.DefaultCamelContext;
import org.apache.camel.processor.idempotent.jdbc.JdbcMessageIdRepository;
import org.apache.camel.processor.idempotent.jdbc.JdbcOrphanLockAwareIdempotentRepository;
import org.postgresql.ds.PGSimpleDataSource;

/** Camel's idempotent consumer over PostgreSQL: {@code Rival eager|late|orphan}. */
public final class Rival {
    private Rival() {}

    private static PGSimpleDataSource database() throws SQLException {
        var database = new PGSimpleDataSource();
        var address = java.net.URI.create(System.getenv("PROVE_STORE"));
        database.setServerNames(new String[] {address.getHost()});
        database.setPortNumbers(new int[] {address.getPort()});
        database.setDatabaseName(address.getPath().substring(1));
        database.setUser(address.getUserInfo());
        database.setCurrentSchema(System.getenv("PROVE_SCHEMA"));
        database.setConnectTimeout(1);
        database.setSocketTimeout(2);
        try (var connection = database.getConnection(); var statement = connection.createStatement()) {
            statement.execute("CREATE SCHEMA IF NOT EXISTS " + System.getenv("PROVE_SCHEMA"));
        }
        return database;
    }

    private static JdbcMessageIdRepository repository(CamelContext camel, boolean orphanLockAware) throws SQLException {
        if (!orphanLockAware) {
            return new JdbcMessageIdRepository(database(), "effect");
        }
        var repository = new JdbcOrphanLockAwareIdempotentRepository(database(), "effect", camel);
        long lease = Long.parseLong(System.getenv("PROVE_LEASE_MS"));
        repository.setLockMaxAgeMillis(lease);
        repository.setLockKeepAliveIntervalMillis(lease / 5);
        return repository;
    }

    private static ProducerTemplate route(String mode) throws Exception {
        var camel = new DefaultCamelContext();
        var repository = repository(camel, mode.equals("orphan"));
        camel.addRoutes(new RouteBuilder() {
            @Override
            public void configure() {
                errorHandler(noErrorHandler());
                from("direct:in").idempotentConsumer(header("id"), repository).eager(!mode.equals("late"))
                    .process(exchange -> {
                        var message = exchange.getMessage();
                        Journal.handle(message.getHeader("id", String.class), message.getHeader("again", Boolean.class));
                    });
            }
        });
        camel.start();
        return camel.createProducerTemplate();
    }

    /** Acknowledges after the route, and gives back what it has failed. */
    private static void consume(ProducerTemplate route) throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(System.getenv("PROVE_SOURCE"));
        Channel channel = factory.newConnection().createChannel();
        channel.basicQos(10);
        DeliverCallback onMessage = (tag, delivery) -> {
            Exchange done = route.send("direct:in", exchange -> {
                exchange.getMessage().setHeader("id", delivery.getProperties().getMessageId());
                exchange.getMessage().setHeader("again", delivery.getEnvelope().isRedeliver());
            });
            long delivered = delivery.getEnvelope().getDeliveryTag();
            if (done.isFailed()) {
                System.out.println(done.getException());
                channel.basicNack(delivered, false, true);
            } else {
                channel.basicAck(delivered, false);
            }
        };
        channel.basicConsume(System.getenv("PROVE_QUEUE"), false, onMessage, tag -> System.exit(1));
        new CountDownLatch(1).await();
    }

    public static void main(String[] args) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(0)));
        ProducerTemplate route = null;
        while (true) {
            try {
                route = route == null ? route(args[0]) : route;
                consume(route);
            } catch (Exception away) { // a server in the middle of an outage
                System.out.println(away);
                Thread.sleep(200);
            }
        }
    }
}
