//! The checks before a file is opened: its filesystem and the SQLite library must be able to keep the promise.

use std::path::{Path, PathBuf};

use ackonce::{Error, ErrorKind, Result};

use crate::Fuse;

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Config, format!("sqlite: {message}"))
}

/// Resolves the directory of the file's path and lists the weaknesses of its filesystem.
pub(crate) fn resolve(path: &Path, fuse: Fuse) -> Result<(PathBuf, Vec<String>)> {
    // "file:" is a URI to SQLite, and ":memory:" is another database for each connection.
    if path.as_os_str().is_empty()
        || path.starts_with(":memory:")
        || path.to_string_lossy().starts_with("file:")
    {
        return Err(refused(format!("{path:?} is not the path of a file; records must outlive the process")));
    }
    if path.is_dir() {
        return Err(refused(format!("{} is a directory; name a file in it", path.display())));
    }
    let (Some(name), directory) = (path.file_name(), path.parent().unwrap_or(Path::new(""))) else {
        return Err(refused(format!("{} does not name a file", path.display())));
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // A link is followed, as SQLite follows it: the log lies beside the file that it names.
    let full =
        path.canonicalize().or_else(|_| directory.canonicalize().map(|d| d.join(name))).map_err(|e| {
            refused(format!("the directory {} cannot be used; create it first", directory.display()))
                .with_source(e)
        })?;
    let weakness = filesystem(full.parent().unwrap_or(directory), fuse)?;
    Ok((full, weakness.into_iter().collect()))
}

fn filesystem(directory: &Path, fuse: Fuse) -> Result<Option<String>> {
    let kind = kind(directory).map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("sqlite: cannot read {}", directory.display()))
            .with_source(e)
    })?;
    check_filesystem(kind, fuse).map_err(|why| refused(format!("{} is on {why}", directory.display())))
}

/// The kind of the filesystem of a directory.
#[cfg(target_os = "linux")]
pub(crate) fn kind(directory: &Path) -> std::io::Result<FileSystem> {
    let found = rustix::fs::statfs(directory)?;
    Ok(kind_of(u64::try_from(found.f_type).unwrap_or_default() & 0xffff_ffff))
}

/// On other systems only `unsafe` code can ask for the kind of a filesystem; the README says so.
#[cfg(not(target_os = "linux"))]
pub(crate) fn kind(_: &Path) -> std::io::Result<FileSystem> {
    Ok(FileSystem::Local)
}

/// The kind of a file's filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// A disk of this host, or a kind that is not known.
    Local,
    /// One that several hosts share, by its name.
    Shared(&'static str),
    /// FUSE.
    Fuse,
    /// In memory (tmpfs).
    Memory,
    /// A container's own layer (overlayfs).
    Container,
}

/// The filesystems that several hosts share, by their magic numbers (statfs(2)).
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
const SHARED: [(u64, &str); 17] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x786f_4256, "a VirtualBox share"),
    (0xbacb_acbc, "a VMware share"),
];

/// The kind of a filesystem by its magic number (statfs(2)).
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn kind_of(magic: u64) -> FileSystem {
    let shared = SHARED.iter().find(|(known, _)| *known == magic).map(|(_, name)| FileSystem::Shared(name));
    shared.unwrap_or(match magic {
        0x6573_5546 => FileSystem::Fuse,
        0x0102_1994 | 0x8584_58f6 => FileSystem::Memory,
        0x794c_7630 => FileSystem::Container,
        _ => FileSystem::Local,
    })
}

/// The verdict on a filesystem: a weakness, or the reason for refusing it.
fn check_filesystem(kind: FileSystem, fuse: Fuse) -> std::result::Result<Option<String>, String> {
    match (kind, fuse) {
        (FileSystem::Local, _) => Ok(None),
        (FileSystem::Shared(name), _) => Err(format!(
            "{name}: SQLite's log needs locks and memory of one host; use a local disk, Postgres or Redis"
        )),
        (FileSystem::Fuse, Fuse::Refuse) => {
            Err("FUSE, whose locks and flushes may not be real; use a local disk, or allow it (with_fuse(Fuse::Allow), \
                 in a URL fuse=allow)"
                .into())
        }
        (FileSystem::Fuse, Fuse::Allow) => {
            Ok(Some("the file is on FUSE, whose locks and flushes may not be real".into()))
        }
        (FileSystem::Memory, _) => Ok(Some(
            "the file is in memory (tmpfs): every record is lost when the machine restarts".into(),
        )),
        (FileSystem::Container, _) => Ok(Some(
            "the file is in a container's own layer (overlayfs): its records are lost with it".into(),
        )),
    }
}

/// Checks the linked SQLite library's version, given as `X * 1000000 + Y * 1000 + Z`.
///
/// 3.7.0 to 3.51.2 can damage a file that two connections write and checkpoint at once (the WAL-reset bug,
/// <https://sqlite.org/wal.html#walresetbug>); 3.44.6 and 3.50.7 carry the repair.
pub(crate) fn library(version: i32) -> Result<()> {
    let (series, patch) = (version / 1000, version % 1000);
    let repaired = match series {
        3_044 => patch >= 6,
        3_050 => patch >= 7,
        3_051 => patch >= 3,
        _ => series > 3_051,
    };
    if repaired {
        return Ok(());
    }
    Err(refused(format!(
        "the SQLite library is {}.{}.{patch}, which can damage the file (WAL-reset bug); link 3.51.3 \
         or newer, as rusqlite's feature `bundled` does",
        version / 1_000_000,
        series % 1000
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_with_the_wal_reset_bug_are_refused() {
        for bad in [3_007_000, 3_040_001, 3_044_005, 3_046_000, 3_050_006, 3_051_002] {
            assert_eq!(library(bad).unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
        for good in [3_044_006, 3_050_007, 3_051_003, 3_052_000, 3_054_001, rusqlite::version_number()] {
            library(good).unwrap();
        }
        assert!(library(3_040_001).unwrap_err().to_string().contains("is 3.40.1,"));
    }

    #[test]
    fn filesystems_that_are_not_this_hosts_own_are_refused() {
        for magic in [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400] {
            assert!(check_filesystem(kind_of(magic), Fuse::Allow).is_err(), "{magic:x}");
        }
        assert!(check_filesystem(kind_of(0x6573_5546), Fuse::Refuse).is_err());
        assert!(check_filesystem(kind_of(0x6573_5546), Fuse::Allow).unwrap().is_some());
        assert!(
            check_filesystem(kind_of(0x0102_1994), Fuse::Refuse).unwrap().is_some(),
            "tmpfs is a weakness"
        );
        assert_eq!(check_filesystem(kind_of(0xef53), Fuse::Refuse).unwrap(), None, "ext4");
    }

    #[test]
    fn what_is_not_the_path_of_a_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let bad = [
            PathBuf::new(),
            ":memory:".into(),
            "file:dedup.db?mode=memory".into(),
            directory.path().to_owned(),
            directory.path().join("missing/dedup.db"),
            "..".into(),
        ];
        for path in bad {
            let error = resolve(&path, Fuse::Refuse).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{path:?}: {error}");
        }
        resolve(&directory.path().join("new.db"), Fuse::Refuse).unwrap();
        resolve(Path::new("new.db"), Fuse::Refuse).unwrap();
    }
}
