# shellcheck shell=bash
# Apache Kafka from the jars on Maven Central; one node that is broker and controller.

kafka_version() { image_tag kafka; }
kafka_jars() { echo "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ackonce/kafka-$(kafka_version)"; }
kafka_exports() { export_line kafka '' "$(address kafka)"; }
kafka_stop_signal() { echo TERM; }

kafka_packages() {
    [[ -n $(kafka_java) ]] || echo 'openjdk-17-jre-headless|default-jre-headless'
    [[ -d $(kafka_jars) ]] || command -v mvn >/dev/null || echo maven
}

# The first java of version 17 or newer.
kafka_java() {
    local java version
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} java /usr/lib/jvm/*/bin/java; do
        version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || true
        if ((${version:-0} >= 17)); then echo "$java" && return; fi
    done
}

kafka_fetch() {
    local jars part version
    jars=$(kafka_jars) version=$(kafka_version)
    [[ ! -d $jars ]] || return 0
    note "fetching Kafka $version from Maven Central, once"
    mkdir -p "${jars%/*}"
    part=$(mktemp -d "$jars.XXXXXX")
    # shellcheck disable=SC2064 # the value of now
    trap "rm -rf '$part'" EXIT
    trap 'exit 143' TERM
    cat >"$RUN_DIR/kafka/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ackonce</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
POM
    mvn --batch-mode --quiet --strict-checksums -Dstyle.color=never -f "$RUN_DIR/kafka/pom.xml" \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$part" </dev/null ||
        give_up kafka "Maven could not fetch Kafka $version: $(
            grep -m 1 ERROR "$RUN_DIR/start-kafka.log" | cut -c 1-300
        )"
    # Someone else may have been faster; theirs is as good.
    mv -T "$part" "$jars" 2>/dev/null || rm -rf "$part"
    trap - EXIT TERM
}

kafka_prepare() {
    local dir=$RUN_DIR/kafka port controller
    kafka_fetch
    kafka_java >"$dir/java"
    port=$(free_port) controller=$(free_port)
    mkdir "$dir/tmp"
    # As in docker-compose.yml, which says why.
    cat >"$dir/server.properties" <<CONFIG
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
CONFIG
    # Warnings, and the one line that says that clients are served.
    cat >"$dir/log4j2.properties" <<LOG
status = error
appender.file.type = File
appender.file.name = file
appender.file.fileName = $dir/kafka.log
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %m (%c)%n%throwable
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = info
LOG
    echo "$port" >"$dir/port"
    kafka_java_command
    "${JAVA[@]}" kafka.tools.StorageTool format -t AckonceTestClusterIdAA -c "$dir/server.properties"
}

# Sets JAVA: quick to start, and with nothing in the machine's temporary folder.
kafka_java_command() {
    JAVA=("$(<"$RUN_DIR/kafka/java")" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
        -XX:-UsePerfData -Djava.io.tmpdir="$RUN_DIR/kafka/tmp"
        -Dlog4j2.configurationFile="$RUN_DIR/kafka/log4j2.properties" -cp "$(kafka_jars)/*")
}

kafka_launch() {
    rm -f "$RUN_DIR/kafka/kafka.log"
    kafka_java_command
    launch "$RUN_DIR/kafka/server.pid" "${JAVA[@]}" kafka.Kafka "$RUN_DIR/kafka/server.properties"
}

kafka_ready() {
    grep -q 'Kafka Server started' "$RUN_DIR/kafka/kafka.log" 2>/dev/null &&
        listens "$(<"$RUN_DIR/kafka/port")"
}
