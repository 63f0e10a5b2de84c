//! Which file system a directory is on: fsync and locks are only worth something on a local one (LEDGER 3).

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The kind of the file system that holds `path` (absolute, without links), from the text of `/proc/self/mountinfo`.
pub(super) fn kind<'a>(mountinfo: &'a str, path: &Path) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
        let point = unescape(point);
        let inside = path.starts_with(Path::new(std::ffi::OsStr::from_bytes(&point)));
        // A later mount on the same point hides the earlier one.
        if inside && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// Whether a kind of file system is shared over a network or emulated, so that an fsync or a lock may promise nothing.
pub(super) fn is_remote(kind: &str) -> bool {
    const REMOTE: [&str; 16] = [
        "nfs",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "ncpfs",
        "9p",
        "afs",
        "coda",
        "ceph",
        "lustre",
        "gfs2",
        "ocfs2",
        "beegfs",
        "glusterfs",
    ];
    const LOCAL_FUSE: [&str; 3] = ["fuse.fuse-overlayfs", "fuse.ext4", "fuse.ntfs-3g"];
    REMOTE.contains(&kind) || (kind.starts_with("fuse.") && !LOCAL_FUSE.contains(&kind)) || kind == "fuse"
}

/// Mount points carry blanks and the like as `\` and three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            let digits: Vec<u8> = bytes.by_ref().take(3).collect();
            let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit.wrapping_sub(b'0') & 7));
            plain.push(u8::try_from(value & 0xff).unwrap_or(b'?'));
        } else {
            plain.push(byte);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        28 27 0:25 / /srv/my\\040data rw - nfs4 server:/x rw\n\
        29 27 0:26 / /srv ro shared:1 - xfs /dev/vdb rw\n\
        30 27 0:27 / /srv ro shared:1 - fuse.sshfs host:/ rw\n\
        broken line";

    #[test]
    fn the_longest_and_latest_mount_point_wins() {
        assert_eq!(kind(MOUNTS, Path::new("/var/lib")), Some("ext4"));
        assert_eq!(kind(MOUNTS, Path::new("/srv/my data/gratis")), Some("nfs4"));
        assert_eq!(kind(MOUNTS, Path::new("/srv/other")), Some("fuse.sshfs"));
        assert_eq!(kind(MOUNTS, Path::new("/srvx")), Some("ext4"));
        assert_eq!(kind("", Path::new("/")), None);
    }

    #[test]
    fn shared_file_systems_are_told_apart() {
        for kind in ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "fuse"] {
            assert!(is_remote(kind), "{kind}");
        }
        for kind in ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "fuse.fuse-overlayfs"] {
            assert!(!is_remote(kind), "{kind}");
        }
    }
}
