use std::net::TcpListener;

use crate::Examined;
use crate::own::{Redis, until};

fn look(url: &str) -> Examined {
    Examined::of(&["--store", url])
}

#[test]
fn each_misconfiguration_is_found_and_a_sound_server_is_not_accused() {
    let Some(server) = Redis::start(&[]) else { return };
    let url = server.url();
    look(&url).is_sound();
    let used = || server.info("used_memory");

    server.set("maxmemory", "1gb");
    look(&url).is_sound();
    for policy in ["allkeys-lru", "volatile-ttl"] {
        server.set("maxmemory-policy", policy);
        look(&url).finds(&["redis-eviction"], 4);
    }
    server.set("maxmemory-policy", "noeviction");
    server.set("maxmemory", &(used() + 100_000).to_string());
    look(&url).finds(&["redis-memory"], 1);

    // A server that was set right after it has thrown keys out.
    server.set("maxmemory", &(used() + 1_000_000).to_string());
    server.set("maxmemory-policy", "allkeys-random");
    let fill = "for n = 1, 50 do redis.call('SET', ARGV[1] .. n, string.rep('x', 20000)) end";
    let mut round = 0;
    until("keys are thrown out", || {
        round += 1;
        server.say(&["EVAL", fill, "0", &format!("k{round}-")]);
        server.info("evicted_keys") > 0
    });
    server.set("maxmemory-policy", "noeviction");
    server.set("maxmemory", "0");
    look(&url).finds(&["redis-evicted"], 1);
    server.say(&["CONFIG", "RESETSTAT"]);
    server.say(&["FLUSHALL"]);

    for (fsync, names) in [("everysec", &["redis-fsync"][..]), ("no", &["redis-fsync"]), ("always", &[])] {
        server.set("appendfsync", fsync);
        look(&url).finds(names, i32::from(!names.is_empty()));
    }
    server.set("no-appendfsync-on-rewrite", "yes");
    look(&url).finds(&["redis-fsync-rewrite"], 1);
    server.set("no-appendfsync-on-rewrite", "no");

    server.set("appendonly", "no");
    look(&url).finds(&["redis-no-persistence"], 4);
    server.set("save", "3600 1");
    look(&url).finds(&["redis-snapshots-only"], 1);
    server.set("stop-writes-on-bgsave-error", "no");
    look(&url).finds(&["redis-snapshots-only", "redis-stop-writes"], 1);
    server.set("stop-writes-on-bgsave-error", "yes");
    server.set("save", "");
    server.set("appendonly", "yes");
    until("the append-only file is there", || server.info("aof_rewrite_in_progress") == 0);
    look(&url).is_sound();
}

#[test]
fn a_replica_and_its_primary_are_told_apart() {
    let Some(primary) = Redis::start(&[]) else { return };
    let port = primary.port.to_string();
    let Some(replica) = Redis::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    until("the replica follows", || primary.info("connected_slaves") == 1);
    look(&primary.url()).finds(&["redis-failover"], 1);
    look(&replica.url()).finds(&["redis-role"], 4);
    replica.set("replica-read-only", "no");
    look(&replica.url()).finds(&["redis-role"], 4);
}

#[test]
fn a_cluster_that_is_not_whole_and_a_url_that_does_not_fit() {
    let Some(server) = Redis::start(&["--cluster-enabled", "yes"]) else { return };
    look(&server.url()).finds(&["redis-mode"], 4);
    let url = format!("redis+cluster://127.0.0.1:{}", server.port);
    look(&url).finds(&["redis-cluster", "redis-failover"], 4);
    assert_eq!(server.say(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "OK");
    until("the cluster is whole", || server.say(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    // A cluster forgets the latest records when it fails over.
    look(&url).finds(&["redis-failover"], 1);
}

#[test]
fn missing_rights_are_findings_or_left_out_with_their_reason() {
    let Some(server) = Redis::start(&[]) else { return };
    let url = format!("redis://app:s3cret@127.0.0.1:{}", server.port);
    for (rules, expected) in [("-hset", "+hset"), ("-evalsha", "+evalsha")] {
        server.say(&["ACL", "SETUSER", "app", "reset", "on", ">s3cret", "~*", "+@all", rules]);
        let examined = look(&url);
        examined.finds(&["redis-rights"], 4);
        assert!(examined.json.to_string().contains(expected), "{:#}", examined.json);
    }
    server.say(&["ACL", "SETUSER", "app", "reset", "on", ">s3cret", "~other:*", "+@all"]);
    look(&url).finds(&["redis-rights"], 4);
    server.say(&["ACL", "SETUSER", "app", "reset", "on", ">s3cret", "~*", "+@all", "-info"]);
    look(&url).leaves_out(&["redis-eviction", "redis-role"], "INFO");
    server.say(&["ACL", "SETUSER", "app", "reset", "on", ">s3cret", "~*", "+@all", "-config"]);
    look(&url).leaves_out(&["redis-fsync"], "CONFIG GET");
    let wrong = look(&url.replace("s3cret", "oth3r"));
    assert!(wrong.code == 3 && wrong.said.contains("--store"), "{}", wrong.said);
    assert!(!wrong.said.contains("oth3r"), "{}", wrong.said);
}

#[test]
fn a_peer_that_never_answers_ends_the_program_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for url in [format!("redis://{address}"), format!("postgres://app@{address}/app")] {
        let examined = Examined::of(&["--store", &url, "--answer-timeout", "3s"]);
        assert_eq!(examined.code, 3, "{}", examined.said);
        assert!(
            examined.said.contains("--store") && examined.said.contains(&address.to_string()),
            "{}",
            examined.said
        );
    }
    let kafka = format!("kafka://{address}/t?group=g");
    let amqp = format!("amqp://guest:s3cret@{address}/%2f?queue=q");
    for from in [kafka, amqp] {
        let examined = Examined::of(&["--store", "memory:", "--from", &from, "--answer-timeout", "3s"]);
        assert_eq!(examined.code, 3, "{}", examined.said);
        assert!(examined.said.contains("--from") && !examined.said.contains("s3cret"), "{}", examined.said);
        // The findings about the store are told all the same.
        assert!(examined.json.to_string().contains("memory-store"), "{:#}", examined.json);
        assert_eq!(examined.json["verdict"], "incomplete");
    }
}

#[test]
fn settings_are_judged_beside_the_store() {
    let Some(server) = Redis::start(&[]) else { return };
    let url = format!("{}?response_timeout_ms=10000", server.url());
    look(&url).finds(&["settings-lease"], 1);
    Examined::of(&["--store", &url, "--lease", "45s"]).is_sound();
    Examined::of(&["--store", &url, "--accept", "settings-lease"]).is_sound();
}
