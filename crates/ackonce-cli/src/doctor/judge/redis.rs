//! Redis: its settings, its role and the rights of its user.

use ackonce_redis::{RedisServer, RedisSurvey};

use crate::doctor::checks::Check;
use crate::doctor::checks::redis as check;
use crate::doctor::exam::{Exam, Subject, skewed, when};

/// The checks that INFO decides.
const OF_INFO: [&Check; 12] = [
    &check::VERSION,
    &check::MODE,
    &check::ROLE,
    &check::EVICTION,
    &check::EVICTED,
    &check::MEMORY,
    &check::NO_PERSISTENCE,
    &check::SNAPSHOTS,
    &check::FSYNC,
    &check::WRITE_STATUS,
    &check::STOP_WRITES,
    &check::FAILOVER,
];

pub(in crate::doctor) fn judge(survey: &RedisSurvey, exam: &mut Exam) {
    let mut store = exam.of("store");
    let missing = &survey.missing_rights;
    store.look(&check::RIGHTS, when(!missing.is_empty(), || missing.join(" ")));
    match survey.clock_ahead_us {
        Some(ahead) => store.look(&check::CLOCK, skewed(ahead, survey.clock_error_us)),
        None => store.cannot(&check::CLOCK, "the user may not ask for the time"),
    }
    let state = survey.cluster.as_ref().and_then(|info| info.get("cluster_state"));
    match (survey.is_cluster, state) {
        (false, _) => {}
        (true, Some(state)) => {
            store.look(&check::CLUSTER, when(state != "ok", || format!("cluster_state:{state}")))
        }
        (true, None) => store.cannot(&check::CLUSTER, "the user may not run CLUSTER INFO"),
    }
    for server in &survey.servers {
        let place = if survey.is_cluster { format!("store {}", server.name()) } else { "store".to_owned() };
        let mut place = exam.of(place);
        match server.has_info() {
            true => judge_server(survey, server, &mut place),
            false => place.cannot_all(&OF_INFO, "the user may not run INFO"),
        }
    }
}

fn judge_server(survey: &RedisSurvey, server: &RedisServer, place: &mut Subject<'_>) {
    let version = server.info("redis_version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    place.look(
        &check::VERSION,
        when(major.is_some_and(|major| major < 7), || format!("redis_version:{version}")),
    );
    let mode = server.info("redis_mode");
    let fits = match mode {
        "sentinel" => false,
        "cluster" => survey.is_cluster,
        "standalone" => !survey.is_cluster,
        _ => true,
    };
    place.look(&check::MODE, when(!fits, || format!("redis_mode:{mode}")));
    let role = server.info("role");
    place.look(
        &check::ROLE,
        when(role == "slave", || {
            format!("a replica of {}:{}", server.info("master_host"), server.info("master_port"))
        }),
    );
    memory(server, place);
    persistence(server, place);
    let replicas = server.info("connected_slaves");
    let least = server.config("min-replicas-to-write").unwrap_or("0");
    place.look(
        &check::FAILOVER,
        when(survey.is_cluster || !matches!(replicas, "" | "0"), || {
            let waits = survey.replicas.map_or(0, |replicas| replicas.count);
            format!("{replicas} replicas, min-replicas-to-write {least}, replicas={waits} in the URL")
        }),
    );
}

fn memory(server: &RedisServer, place: &mut Subject<'_>) {
    let number = |name: &str| server.info(name).parse::<u64>().unwrap_or(0);
    let (limit, policy) = (number("maxmemory"), server.info("maxmemory_policy"));
    let evicts = limit > 0 && policy != "noeviction";
    place.look(&check::EVICTION, when(evicts, || format!("maxmemory-policy {policy}, maxmemory {limit}")));
    let evicted = number("evicted_keys");
    place.look(&check::EVICTED, when(evicted > 0, || format!("evicted_keys:{evicted}")));
    let used = number("used_memory");
    let is_near = limit > 0 && used > limit - limit / 10;
    place.look(&check::MEMORY, when(is_near, || format!("{used} of maxmemory {limit} are used")));
}

fn persistence(server: &RedisServer, place: &mut Subject<'_>) {
    let has_log = server.info("aof_enabled") == "1";
    let save = server.config("save");
    // Without CONFIG it is not known whether there are snapshots; in any case there is no log.
    let nothing = !has_log && save == Some("");
    place.look(&check::NO_PERSISTENCE, when(nothing, || "appendonly no, save \"\"".to_owned()));
    place.look(
        &check::SNAPSHOTS,
        when(!has_log && !nothing, || format!("appendonly no, save {:?}", save.unwrap_or("unknown"))),
    );
    let stops = server.config("stop-writes-on-bgsave-error");
    let written = server.info("aof_last_write_status");
    let failed = has_log && written == "err";
    let saved = server.info("rdb_last_bgsave_status");
    // The server refuses writes after a failed snapshot only where it is set to make any.
    let refuses = saved == "err" && stops != Some("no") && save.is_some_and(|save| !save.is_empty());
    place.look(
        &check::WRITE_STATUS,
        when(failed || refuses, || {
            format!("aof_last_write_status:{written}, rdb_last_bgsave_status:{saved}")
        }),
    );
    let silent = stops == Some("no") && !has_log && save != Some("");
    place.look(&check::STOP_WRITES, when(silent, || "stop-writes-on-bgsave-error no".to_owned()));
    if !server.has_config() {
        return place.cannot_all(&[&check::FSYNC, &check::FSYNC_REWRITE], "the user may not run CONFIG GET");
    }
    let fsync = server.config("appendfsync").unwrap_or("unknown");
    place.look(&check::FSYNC, when(has_log && fsync != "always", || format!("appendfsync {fsync}")));
    let rewrite = server.config("no-appendfsync-on-rewrite") == Some("yes");
    place
        .look(&check::FSYNC_REWRITE, when(has_log && rewrite, || "no-appendfsync-on-rewrite yes".to_owned()));
}
