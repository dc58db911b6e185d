//! A disk whose power can be cut: an ext4 filesystem in an image file, behind a loop device.
//!
//! The cut is the kernel's own: `FS_IOC_SHUTDOWN`, with which filesystems are tested for crashes. From that
//! instant nothing goes from the filesystem to the device, while what was flushed is in the image. A process
//! that was stopped instead would finish the flush that it is in, and hide an ack that came before it. What a
//! process hears after the cut means nothing: a flush that was under way may be told that it succeeded.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says the size of one file, then shuts down the filesystem of another: `_IOR('X', 125, u32)`, without flushing
/// the journal first. The workspace has no `unsafe`, Perl has `ioctl`, and it is ready when the moment comes.
const CUT: &str = r#"
    my ($disk, $acks) = @ARGV;
    open(my $d, "<", $disk) or die "$disk: $!\n";
    my $how = pack("L", 2);
    my $size = -s $acks;
    ioctl($d, 0x8004587d, $how) or die "$disk: $!\n";
    print $size;"#;

/// What has to work: try it on a small disk.
const TRY: &str = r#"
    cd "$1" && mkdir mount && truncate -s 8M image && mkfs.ext4 -q -F image && mount -o loop image mount || exit
    echo x >mount/file && test "$(perl -e "$2" mount mount/file)" = 2 || exit
    if echo x 2>&- >mount/other; then echo "the filesystem went on after it was shut down" >&2; exit 1; fi
    umount mount && rm image && rmdir mount"#;

/// A command, found where administrators' commands are.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// What it says.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The command that tries in `directory` whether disks can be had; in words on stderr if not.
pub(crate) fn trial(directory: &Path) -> Vec<String> {
    ["sh", "-c", TRY, "sh", &directory.to_string_lossy(), CUT].map(str::to_owned).to_vec()
}

/// A mounted disk; dropping it takes it away.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// An empty one.
    pub(crate) fn format(directory: &Path, name: &str) -> Self {
        let image = directory.join(name);
        File::create_new(&image).unwrap().set_len(256 << 20).unwrap();
        run(command("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        Self::mount(image)
    }

    /// What is on the disk now, on another one.
    pub(crate) fn copy(&self, name: &str) -> Self {
        let image = self.image.with_file_name(name);
        run(command("cp").args(["--sparse=always", "--reflink=never"]).args([&self.image, &image]));
        Self::mount(image)
    }

    fn mount(image: PathBuf) -> Self {
        let mount = image.with_extension("mount");
        fs::create_dir(&mount).unwrap();
        run(command("mount").args(["-o", "loop"]).args([&image, &mount]));
        Self { image, mount }
    }

    /// A file on it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    /// A folder on another disk.
    pub(crate) fn elsewhere(&self) -> &Path {
        self.image.parent().unwrap()
    }

    /// Cuts the power; how long `acks`, a file elsewhere, was right before.
    pub(crate) fn cut(&self, acks: &Path) -> usize {
        run(command("perl").args(["-e", CUT]).args([&self.mount, acks])).parse().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, in case that a failed test left something open.
        let _ = command("umount").arg("-l").arg(&self.mount).output();
        let _ = fs::remove_dir(&self.mount);
        let _ = fs::remove_file(&self.image);
    }
}
