//! The scripts, and one call of one.

use std::sync::LazyLock;

use ackonce::store::Names;
use redis::{Arg, Cmd};

use super::Secret;

/// The eviction of the store's keys by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// Not allowed, and none was seen.
    Unseen,
    /// Not allowed, but seen: split buckets may be gone from above others.
    Seen,
    /// Allowed: moreover, a record whose outcome is gone counts as evicted.
    Allowed,
}

/// The settings that every call carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) eviction: Eviction,
    pub(crate) names: Names,
}

/// A script and the name that Redis knows it by once it has seen it.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    sha: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, sha: redis::Script::new(code).get_hash().to_owned() }
    }
}

macro_rules! script {
    ($flags:literal, $file:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                "#!lua",
                $flags,
                "\n",
                include_str!("lua/row.lua"),
                include_str!("lua/bucket.lua"),
                include_str!("lua/index.lua"),
                include_str!($file)
            ))
        })
    };
}

// The first line makes Redis 7 refuse a script before it begins if it could not write: on a replica,
// without memory, while snapshots fail. Only claims are refused at the memory limit: settlements shrink
// records, and sweeps free them.
pub(crate) static CLAIM: LazyLock<Script> = script!("", "lua/claim.lua");
pub(crate) static SETTLE: LazyLock<Script> = script!(" flags=allow-oom", "lua/settle.lua");
pub(crate) static REPAIR: LazyLock<Script> = script!(" flags=allow-oom", "lua/repair.lua");
pub(crate) static WALK: LazyLock<Script> = script!(" flags=allow-oom", "lua/walk.lua");

/// One call of a script, to be sent by name.
#[derive(Debug)]
pub(crate) struct Call {
    script: &'static Script,
    /// Comes back at the head of the reply.
    pub(crate) nonce: [u8; 16],
    /// A key that names the call's slot.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "one server has all slots"))]
    pub(crate) root: Vec<u8>,
    by_name: Cmd,
}

impl Call {
    /// A call for those roots, with the requests about them in one string.
    pub(crate) fn new(
        script: &'static Script,
        secret: &[u8],
        roots: &[Vec<u8>],
        requests: &[u8],
        mode: Mode,
    ) -> Self {
        let nonce: [u8; 16] = rand::random();
        let bytes = roots.iter().map(Vec::len).sum::<usize>() + requests.len();
        let mut by_name = Cmd::with_capacity(roots.len() + 6, bytes + size_of::<Secret>() + 128);
        by_name.arg("EVALSHA").arg(&script.sha).arg(roots.len());
        for root in roots {
            by_name.arg(root.as_slice());
        }
        let eviction = match mode.eviction {
            Eviction::Unseen => "",
            Eviction::Seen => "R",
            Eviction::Allowed => "E",
        };
        by_name.arg(nonce.as_slice()).arg(secret).arg(requests).arg(eviction);
        by_name.arg(if mode.names == Names::Keep { "K" } else { "" });
        Self { script, nonce, root: roots.first().cloned().unwrap_or_default(), by_name }
    }

    pub(crate) fn by_name(&self) -> &Cmd {
        &self.by_name
    }

    /// The same call with the script itself, which Redis keeps from then on. For a server without it: it
    /// was restarted or promoted, or a client sent SCRIPT FLUSH.
    pub(crate) fn by_text(&self) -> Cmd {
        let mut cmd = Cmd::new();
        cmd.arg("EVAL").arg(self.script.code);
        for arg in self.by_name.args_iter().skip(2) {
            if let Arg::Simple(arg) = arg {
                cmd.arg(arg);
            }
        }
        cmd
    }
}
