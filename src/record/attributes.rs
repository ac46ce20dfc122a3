//! Extended attributes of a file that is replaced.

use std::fs::File;
use std::io;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Copies extended attributes, access control lists among them. Those that only the system may
/// set are left to the system.
pub(super) fn copy_extended_attributes(file: &File, old: &File) -> io::Result<()> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match rustix::fs::flistxattr(old, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::RANGE) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    names.truncate(length);
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 64 * 1024];
        let Ok(length) = rustix::fs::fgetxattr(old, name, value.as_mut_slice()) else { continue };
        value.truncate(length);
        let set = rustix::fs::fsetxattr(file, name, &value, XattrFlags::empty());
        let system = name.starts_with(b"security.") || name.starts_with(b"trusted.");
        match set {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(_) if system => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
